# The Kubernetes programs, the S3 server and the engines of GitOps tools and kube-state-metrics, from Go modules. (sourced)
# shellcheck shell=bash

KUBERNETES=1.35.4

go_programs() {
  need go "your system's Go 1.25 or newer (https://go.dev/dl)"
  product kube "$(key "$E2E"/kube/*.go "$E2E"/kube/go.mod "$E2E"/kube/go.sum "=$(go version)")" build_kube
  product tools "$(key "$E2E"/tools/go.mod "$E2E"/tools/go.sum "=$(go version)")" build_tools
  product gitops "$(key "$E2E"/gitops/{main.go,go.mod,go.sum} "=$(go version)")" build_gitops
  local name
  for name in kube etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl helm coredns; do
    ln -sfn ../kube/kube "$BIN/$name"
  done
  ln -sfn ../tools/versitygw "$BIN/versitygw"
  ln -sfn ../gitops/gitops "$BIN/gitops"
}

build_kube() {
  local version=k8s.io/component-base/version minor=${KUBERNETES#*.}
  (cd "$E2E/kube" && go build -trimpath -o "$1/kube" -ldflags "-s -w \
    -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=${KUBERNETES%%.*} -X $version.gitMinor=${minor%%.*}" .)
}

build_gitops() {
  (cd "$E2E/gitops" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1/" .)
}

build_tools() {
  (cd "$E2E/tools" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1/" tool)
}
