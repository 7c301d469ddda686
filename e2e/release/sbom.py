"""sbom.py TARGET: what the shipped programs are made of, as CycloneDX JSON on stdout.

Crates that are compiled into `operator` and `worker` for TARGET, with the digests of Cargo.lock. The same tree gives the
same bytes: nothing in it is a time or a random id.
"""

import json
import subprocess
import sys
import tomllib

SHIPPED = ("operator", "worker")


def compiled(metadata):
    """Ids of the packages that normal dependencies reach from the shipped programs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    members = metadata["workspace_members"]
    ahead = [member for member in members if names[member] in SHIPPED]
    seen = set()
    while ahead:
        package = ahead.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                ahead.append(dependency["pkg"])
    return seen, nodes


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, digests):
    described = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package.get("license"):
        # Cargo still takes a slash for "or".
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    digest = digests.get((package["name"], package["version"]))
    if digest:
        described["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return described


def main(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    with open("Cargo.lock", "rb") as lock:
        locked = tomllib.load(lock)["package"]
    digests = {(entry["name"], entry["version"]): entry.get("checksum") for entry in locked}
    wanted, nodes = compiled(metadata)
    packages = {package["id"]: package for package in metadata["packages"] if package["id"] in wanted}
    ordered = sorted(packages.values(), key=lambda package: (package["name"], package["version"]))
    version = next(package["version"] for package in ordered if package["name"] == "operator")
    root = {"type": "application", "bom-ref": "binlog-operator", "name": "binlog-operator", "version": version}
    edges = {
        reference(package): sorted(
            reference(packages[next_id]) for next_id in nodes[package["id"]]["dependencies"] if next_id in packages
        )
        for package in ordered
    }
    edges["binlog-operator"] = sorted(reference(package) for package in ordered if package["name"] in SHIPPED)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root, "properties": [{"name": "target", "value": target}]},
        "components": [component(package, digests) for package in ordered],
        "dependencies": [{"ref": ref, "dependsOn": edges[ref]} for ref in sorted(edges)],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
