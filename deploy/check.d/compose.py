"""The compose files, their proxy, the secrets they read and the image they build."""

import re
import subprocess

import yaml

import facts
from process import Process, addresses

SECRETS_AT = "/run/secrets/"
# What the engines listen on.
ENGINE_PORTS = {("kafka", "9092"), ("cassandra", "9042")}


def check_image(root, product, complain):
    """The image is built with the toolchain of the repository, and what it runs is what thalweg takes."""
    text = (root / "deploy/Dockerfile").read_text()
    toolchain = re.search(r'channel = "([^"]+)"', (root / "rust-toolchain.toml").read_text())[1]
    if f"\nARG RUST_VERSION={toolchain}\n" not in text:
        complain(f"deploy/Dockerfile: RUST_VERSION is not {toolchain}, that of rust-toolchain.toml")
    arguments = yaml.safe_load(re.search(r"^CMD (\[.*\])$", text, re.M)[1])
    Process("deploy/Dockerfile", arguments, {}, set(), product, complain).check_arguments()
    for line in ("USER 65532:65532", f"EXPOSE {facts.PORT} {facts.INTERNAL_PORT}", "VOLUME /data"):
        if line not in text.splitlines():
            complain(f"deploy/Dockerfile: has no line {line}")
    ignored = (root / ".dockerignore").read_text().splitlines()
    members = re.findall(r'^    "([^"/]+)', (root / "Cargo.toml").read_text().split("members", 1)[1].split("]", 1)[0], re.M)
    for needed in {"Cargo.toml", "Cargo.lock", *members}:
        if f"!{needed}" not in ignored:
            complain(f".dockerignore: keeps {needed} out of the build")


def check_secrets(root, work, complain):
    """Makes them, as a person would, and looks at their form. Returns their names."""
    directory = work / "secrets"
    subprocess.run([root / "deploy/secrets", directory], check=True, capture_output=True)
    made = {file.name: file.read_text().removesuffix("\n") for file in directory.iterdir()}
    named, bare = r"[a-z]+:[A-Za-z0-9_-]{43}", r"[A-Za-z0-9_-]{43}"
    forms = {"token-secret": named, "internal-secret": named, "sealing-secret": bare, "admin-password": bare}
    for name, form in forms.items():
        if not re.fullmatch(form, made[name]):
            complain(f"deploy/secrets: what it makes for {name} is no such secret")
    if f":{made['postgres-password']}@" not in made["postgres-url"]:
        complain("deploy/secrets: postgres-url has another password than postgres-password")
    subprocess.run([root / "deploy/secrets", directory], check=True, capture_output=True)
    if made != {file.name: file.read_text().removesuffix("\n") for file in directory.iterdir()}:
        complain("deploy/secrets: a second run changes them")
    return set(made)


class Composed:
    def __init__(self, file, secrets, product, complain):
        self.document = yaml.safe_load(file.read_text())
        self.services, self.secrets, self.product = self.document["services"], secrets, product
        self.complain = lambda problem: complain(f"{file.name}: {problem}")

    def check(self):
        for name, secret in (self.document.get("secrets") or {}).items():
            if secret["file"] != f"secrets.d/{name}" or name not in self.secrets:
                self.complain(f"the secret {name} is none that deploy/secrets makes")
        for name, service in self.services.items():
            self.check_service(name, service)
        used = {secret for service in self.services.values() for secret in service.get("secrets", [])}
        for secret in set(self.document.get("secrets") or {}) - used:
            self.complain(f"nobody uses the secret {secret}")

    def check_service(self, name, service):
        for kind, declared in (("secrets", "secrets"), ("networks", "networks"), ("volumes", "volumes")):
            for used in service.get(kind, []):
                used = used.split(":")[0]
                if not used.startswith(".") and used not in (self.document.get(declared) or {}):
                    self.complain(f"{name}: {used} is not declared among the {declared}")
        for other, condition in service.get("depends_on", {}).items():
            there = self.services.get(other, {})
            if not there or (condition["condition"] == "service_healthy" and "healthcheck" not in there):
                self.complain(f"{name}: can't wait for {other}")
        for port in service.get("ports", []):
            if not re.fullmatch(r"127\.0\.0\.1:[0-9]+:8080", port) or name not in ("thalweg", "front"):
                self.complain(f"{name}: the port {port} is open to others than this machine")
        if "restart" not in service:
            self.complain(f"{name}: says nothing of what happens when it ends")
        if service["image"].startswith("thalweg:"):
            self.check_thalweg(name, service)

    def check_thalweg(self, name, service):
        files = {SECRETS_AT + secret for secret in service.get("secrets", [])}
        variables = service["environment"]
        arguments = service.get("command") or ["serve", "--listen", f"0.0.0.0:{facts.PORT}", "--data-dir", "/data"]
        role = Process(name, arguments, variables, files, self.product, self.complain).check()
        if role not in (name, "embedded"):
            self.complain(f"{name}: runs as {role}")
        if role != "migrate" and service.get("stop_grace_period") != "30s":
            self.complain(f"{name}: may be killed before it has stopped")
        listening = ENGINE_PORTS | {("control-plane", str(facts.INTERNAL_PORT))}
        for variable in ("THALWEG_KAFKA_BROKERS", "THALWEG_CQL_NODES", "THALWEG_CONTROL_PLANE_URL"):
            for host, port in addresses(variables.get(variable, "")):
                if host not in self.services or (host, port) not in listening:
                    self.complain(f"{name}: nobody listens on {host}:{port} ({variable})")
                elif not set(service["networks"]) & set(self.services[host]["networks"]):
                    self.complain(f"{name}: has no network with {host}")


def check_front(file, services, routes, complain):
    """Routes by path as HAProxy reads its file, as far as ours goes."""
    text = file.read_text()
    rules = {name: _rule(kind, values.split()) for name, kind, values in re.findall(r"^\s*acl (\S+) (path\w*) (.+)$", text, re.M)}
    refused = re.findall(r"http-request return status 404 .* if (\S+)$", text, re.M)
    chosen = re.findall(r"use_backend (\S+) if (\S+)$", text, re.M)
    default = re.search(r"default_backend (\S+)$", text, re.M)[1]
    servers = re.findall(r"^backend (\S+)\n\s+option httpchk GET (\S+)\n\s+server-template \S+ \d+ (\S+):(\d+)$", text, re.M)
    for name, asked, host, port in servers:
        if name not in facts.ROLES or host != name or host not in services or int(port) != facts.PORT or asked != facts.READY:
            complain(f"{file.name}: the backend {name} is none of {host}:{port}, asked {asked}")
    for role, paths in routes.items():
        for path in paths:
            goes = next((backend for backend, acl in chosen if rules[acl](path)), default)
            if any(rules[acl](path) for acl in refused):
                goes = "operating"
            if goes != role or (role != "operating" and role not in {name for name, *_ in servers}):
                complain(f"{file.name}: {path} of {role} goes to {goes}")


def _rule(kind, values):
    return {
        "path": lambda path: path in values,
        "path_beg": lambda path: any(path.startswith(value) for value in values),
        "path_reg": lambda path: any(re.search(value, path) for value in values),
    }[kind]
