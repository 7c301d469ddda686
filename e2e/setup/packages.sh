# What apt offers comes from apt. (sourced)
# shellcheck shell=bash

# Of prometheus the checks use promtool, and one suite the server.
PACKAGES=(ca-certificates curl gcc libc6-dev make prometheus python3 python3-venv)
SERVER_PACKAGES=(buildah conntrack containerd containernetworking-plugins iproute2 iptables nftables
  openssl procps runc util-linux zstd)

# packages PACKAGE... : installs those that are missing
packages() {
  local missing=() package
  for package; do
    [[ $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || fail "packages are missing; install them with: sudo apt-get install ${missing[*]}"
  step "apt packages" install_packages "${missing[@]}"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  # A service of a package must not start: the tests run their own containerd.
  local policy=/usr/sbin/policy-rc.d made=
  [[ -e $policy ]] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=1; }
  apt-get -y install --no-install-recommends "$@" || { [[ -z $made ]] || rm -f "$policy"; return 1; }
  [[ -z $made ]] || rm -f "$policy"
}
