package main

import (
	"fmt"
	"os"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// runCoreDNS serves one Corefile: `coredns FILE`. Only the plugins a test cluster needs are linked.
func runCoreDNS(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: coredns COREFILE")
		return 2
	}
	contents, err := os.ReadFile(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "coredns:", err)
		return 1
	}
	caddy.Quiet = true
	dnsserver.Quiet = true
	caddy.TrapSignals()
	instance, err := caddy.Start(caddy.CaddyfileInput{
		Contents:       contents,
		Filepath:       args[1],
		ServerTypeName: "dns",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "coredns:", err)
		return 1
	}
	instance.Wait()
	return 0
}
