# Programs of other Debian suites, unpacked beside the system. (sourced)
# A private apt with an empty package state resolves and fetches the closure, dpkg-deb unpacks it;
# the system's packages, lists and libc are not touched. Programs start by the root's own loader.
# shellcheck shell=bash

# apt_mirror : the mirror the system's own apt is set up with, so that none is named here
apt_mirror() {
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sed -n 1p)
  [[ -n $uri ]] || return 1
  printf '%s\n' "$uri"
}

# debroot SUITE ROOT PACKAGE... : a leading + takes the package without what it depends on
debroot() {
  local suite=$1 root=$2 package uri apt
  shift 2
  apt=$root.apt
  uri=$(apt_mirror) || { echo "no apt mirror is set up in /etc/apt" >&2; return 1; }
  rm -rf "$root" "$apt"
  mkdir -p "$apt"/{lists/partial,cache/archives/partial}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$apt/sources.list"
  local options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o Dir::State::status=/dev/null
    -o "Dir::Cache=$apt/cache" -o Debug::NoLocking=1 -o APT::Install-Recommends=false
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none
    -o APT::Sandbox::User=root -o Acquire::Retries=3
    -o APT::Update::Post-Invoke::= -o DPkg::Post-Invoke::=)
  local whole=() bare=()
  for package; do
    if [[ $package == +* ]]; then bare+=("${package#+}"); else whole+=("$package"); fi
  done
  apt-get "${options[@]}" -qq update
  apt-get "${options[@]}" -qq -y install --download-only "${whole[@]}"
  ((${#bare[@]} == 0)) || (cd "$apt/cache/archives" && apt-get "${options[@]}" -qq download "${bare[@]}")
  # The links of a merged /usr come first, so that old paths land under usr/.
  local folder
  for folder in bin sbin lib lib64; do
    mkdir -p "$root/usr/$folder"
    ln -sfn "usr/$folder" "$root/$folder"
  done
  local deb
  for deb in "$apt"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --keep-directory-symlink \
      --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale'
  done
  rm -rf "$apt"
}

# debroot_wrap ROOT BIN PROGRAM... : a small script in BIN for each program of ROOT
debroot_wrap() {
  local root=$1 bin=$2 program
  local lib=$root/usr/lib/x86_64-linux-gnu
  shift 2
  mkdir -p "$bin"
  for program; do
    [[ -f $root$program ]] || { echo "$program is not in $root" >&2; return 1; }
    cat >"$bin/${program##*/}" <<WRAP
#!/bin/sh
OPENSSL_MODULES=$lib/ossl-modules exec $lib/ld-linux-x86-64.so.2 --library-path $lib:$root/usr/lib $root$program "\$@"
WRAP
    chmod +x "$bin/${program##*/}"
  done
}
