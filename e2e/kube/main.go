// Command kube is every Kubernetes program that the tests and the demo run, in one binary.
//
// The first argument (or the name the binary is called by) picks the program:
//
//	kube etcd | kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kube-proxy
//	kube kubectl | helm | coredns
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// programs maps a name to its main function; args[0] is the name.
var programs = map[string]func(args []string) int{
	"etcd":                    runEtcd,
	"kube-apiserver":          runAPIServer,
	"kube-controller-manager": runControllerManager,
	"kube-scheduler":          runScheduler,
	"kubelet":                 runKubelet,
	"kube-proxy":              runProxy,
	"kubectl":                 runKubectl,
	"helm":                    runHelm,
	"coredns":                 runCoreDNS,
}

func main() {
	args := slices.Clone(os.Args)
	name := filepath.Base(args[0])
	if _, known := programs[name]; !known && len(args) > 1 {
		args = args[1:]
		name = args[0]
	}
	run, known := programs[name]
	if !known {
		names := make([]string, 0, len(programs))
		for name := range programs {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "kube: no program %q; one of: %s\n", name, strings.Join(names, ", "))
		os.Exit(2)
	}
	// The programs read os.Args themselves.
	os.Args = args
	os.Exit(run(args))
}
