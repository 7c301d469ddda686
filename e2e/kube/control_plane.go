package main

import (
	"context"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// runEtcd does not return on failure: etcd ends the process itself.
func runEtcd(args []string) int {
	etcdmain.Main(args)
	return 0
}

func runAPIServer([]string) int         { return cli.Run(apiserver.NewAPIServerCommand()) }
func runControllerManager([]string) int { return cli.Run(manager.NewControllerManagerCommand()) }
func runScheduler([]string) int         { return cli.Run(scheduler.NewSchedulerCommand()) }
func runProxy([]string) int             { return cli.Run(proxy.NewProxyCommand()) }

func runKubelet([]string) int {
	return cli.Run(kubelet.NewKubeletCommand(context.Background()))
}
