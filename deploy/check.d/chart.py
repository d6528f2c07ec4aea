"""What the chart renders: that its objects fit each other, and the product."""

import base64
import json
import re

import yaml

import facts
from process import Process, addresses

CHART_SETS = {
    "listen", "internal_listen", "data_dir", "role", "admin_email", "trusted_proxies", "control_plane_url",
    "kafka_brokers", "kafka_topic", "kafka_partitions", "kafka_replication", "kafka_in_sync_min",
    "cql_nodes", "cql_keyspace", "cql_replicas", "cql_consistency", "cql_user",
}  # fmt: skip
MOUNTED_AT = "/run/secrets/thalweg/"


def check_schema(chart, product, complain):
    """The settings that values take are those that there are, but for secrets and for what the chart sets itself."""
    schema = json.loads((chart / "values.schema.json").read_text())
    taken = set(schema["$defs"]["settings"]["properties"])
    there = {setting.key for setting in product.settings.values() if not setting.is_secret} - CHART_SETS
    if taken != there:
        complain(f"values.schema.json: settings has {sorted(taken - there)} too many and lacks {sorted(there - taken)}")


class Rendered:
    def __init__(self, name, text, values, product, complain):
        self.values, self.product, self.routes = values, product, product.routes
        self.complain = lambda problem: complain(f"{name}: {problem}")
        self.objects = [found for found in yaml.safe_load_all(text) if found is not None]
        self.pods = [found for found in self.objects if "template" in found.get("spec", {})]

    def check(self):
        self.check_names()
        self.check_secrets_stay()
        for pod in self.pods:
            self.check_pod(pod)
        self.check_selectors()
        self.check_internal_port()
        self.check_routes()

    def of(self, kind):
        return [found for found in self.objects if found["kind"] == kind]

    def check_names(self):
        seen = set()
        for found in self.objects:
            if not (found.get("apiVersion") and found.get("kind") and found.get("metadata", {}).get("name")):
                self.complain(f"an object without apiVersion, kind or name: {str(found)[:200]}")
            if label(found) in seen:
                self.complain(f"{label(found)} is there twice")
            seen.add(label(found))
            if len(found["metadata"]["name"]) > 63:
                self.complain(f"{label(found)} has a name of more than 63 characters")

    def check_secrets_stay(self):
        """No value of a secret is anywhere but in a Secret, plain or in base64."""
        secrets = {value for name, value in self.values.get("secrets", {}).items() if isinstance(value, str) and name != "existing"}
        elsewhere = json.dumps([found for found in self.objects if found["kind"] != "Secret"])
        for secret in secrets:
            for form in (secret, base64.b64encode(secret.encode()).decode()):
                if form in elsewhere:
                    self.complain("the value of a secret is outside of a Secret")

    def check_pod(self, owner):
        spec = owner["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        names = [variable["name"] for variable in container["env"]]
        for name in {name for name in names if names.count(name) > 1}:
            self.complain(f"{label(owner)}: {name} is given twice")
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        files = self.secret_files(owner, spec, container)
        role = Process(label(owner), container["args"], variables, files, self.product, self.complain).check()
        component = owner["spec"]["template"]["metadata"]["labels"].get("app.kubernetes.io/component")
        if component != role:
            self.complain(f"{label(owner)}: its component is {component}, and it runs as {role}")
        self.check_security(owner, spec, container)
        for host, port in addresses(variables.get("THALWEG_CONTROL_PLANE_URL", "")):
            if not any(port_of(service, int(port)) for service in self.of("Service") if service["metadata"]["name"] == host):
                self.complain(f"{label(owner)}: {host}:{port} is no Service")
        if role != "migrate":
            self.check_probes(owner, spec, container)

    def secret_files(self, owner, spec, container):
        """Paths of the secrets that the container finds, whose keys are in their Secrets."""
        volumes = {volume["name"]: volume["secret"] for volume in spec.get("volumes", []) if "secret" in volume}
        files = set()
        for mount in container.get("volumeMounts", []):
            secret = volumes.get(mount["name"])
            if secret is None:
                continue
            if not mount.get("readOnly") or mount["mountPath"] != MOUNTED_AT.rstrip("/"):
                self.complain(f"{label(owner)}: secrets are mounted at {MOUNTED_AT}, to read")
            there = self.keys_of(owner, secret["secretName"])
            for item in secret["items"]:
                files.add(MOUNTED_AT + item["path"])
                if there is not None and item["key"] not in there:
                    self.complain(f"{label(owner)}: {secret['secretName']} has no {item['key']}")
        return files

    def keys_of(self, owner, name):
        """Keys of a rendered Secret; nothing is known of one that was there before."""
        if name == self.values["secrets"].get("existing"):
            return None
        for secret in self.of("Secret"):
            if secret["metadata"]["name"] == name:
                if is_hook(owner) and not is_hook(secret):
                    self.complain(f"{label(owner)} runs before {label(secret)} is there")
                return set(secret["stringData"])
        self.complain(f"{label(owner)}: there is no Secret {name}")
        return set()

    def check_security(self, owner, spec, container):
        pod, own = spec["securityContext"], container["securityContext"]
        holds = (
            pod["runAsNonRoot"] and pod["runAsUser"] > 0,
            pod["seccompProfile"]["type"] == "RuntimeDefault",
            own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"],
            own["capabilities"] == {"drop": ["ALL"]},
            spec["automountServiceAccountToken"] is False,
            container["resources"]["requests"]["cpu"] and container["resources"]["limits"]["memory"],
        )
        if not all(holds):
            self.complain(f"{label(owner)}: may do more than it has to, or take what it likes: {holds}")
        account = spec["serviceAccountName"]
        there = [found["metadata"]["name"] for found in self.of("ServiceAccount")]
        if account != "default" and account not in there and self.values.get("serviceAccount", {}).get("create", True):
            self.complain(f"{label(owner)}: there is no ServiceAccount {account}")

    def check_probes(self, owner, spec, container):
        ports = {port["name"] for port in container.get("ports", [])}
        for probe, path in (("startupProbe", facts.LIVE), ("livenessProbe", facts.LIVE), ("readinessProbe", facts.READY)):
            asked = container.get(probe, {}).get("httpGet", {})
            if asked.get("path") != path or asked.get("port") not in ports:
                self.complain(f"{label(owner)}: its {probe} asks {asked} and not {path}")
        waits = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if spec.get("terminationGracePeriodSeconds", 30) <= waits + facts.STOP_SECONDS_MAX:
            self.complain(f"{label(owner)}: is killed before it has stopped")

    def check_selectors(self):
        templates = [pod["spec"]["template"] for pod in self.pods]
        for pod in self.pods:
            labels = pod["spec"]["template"]["metadata"]["labels"]
            if pod["kind"] != "Job":
                self.selects_one(pod, pod["spec"]["selector"]["matchLabels"])
            for spread in pod["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
                if not selects(spread["labelSelector"]["matchLabels"], labels):
                    self.complain(f"{label(pod)}: it spreads over pods that are not its own")
        for service in self.of("Service"):
            template = self.selects_one(service, service["spec"]["selector"])
            names = {port["name"] for port in template["spec"]["containers"][0]["ports"]} if template else set()
            for port in service["spec"]["ports"]:
                if template and port["targetPort"] not in names:
                    self.complain(f"{label(service)}: its pods have no port {port['targetPort']}")
        for found in self.of("PodDisruptionBudget"):
            self.selects_one(found, found["spec"]["selector"]["matchLabels"])
        for found in self.of("NetworkPolicy"):
            self.selects_one(found, found["spec"]["podSelector"]["matchLabels"])
        for found in self.of("HorizontalPodAutoscaler"):
            target = found["spec"]["scaleTargetRef"]
            scaled = [pod for pod in self.pods if label(pod) == f"{target['kind']}/{target['name']}"]
            if len(scaled) != 1 or "replicas" in scaled[0]["spec"]:
                self.complain(f"{label(found)}: scales nothing, or what has a fixed number")
        for found in self.of("ServiceMonitor"):
            watched = [service for service in self.of("Service")
                       if selects(found["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])]  # fmt: skip
            if len(watched) != len([pod for pod in self.pods if pod["kind"] != "Job"]):
                self.complain(f"{label(found)}: watches {len(watched)} Services of {len(templates)} kinds of pods")
            for endpoint in found["spec"]["endpoints"]:
                if endpoint["path"] not in self.routes["operating"]:
                    self.complain(f"{label(found)}: {endpoint['path']} is no path")

    def selects_one(self, owner, wanted):
        """The template of the one kind of pod that these labels select."""
        found = [pod for pod in self.pods if selects(wanted, pod["spec"]["template"]["metadata"]["labels"])]
        if len(found) != 1:
            self.complain(f"{label(owner)}: selects {[label(pod) for pod in found]} and not one kind of pod")
            return None
        return found[0]["spec"]["template"]

    def check_internal_port(self):
        """Ingest and reader reach it, and nobody else, nor is it open by a rule without ports."""
        for policy in self.of("NetworkPolicy"):
            for rule in policy["spec"]["ingress"]:
                ports = {port["port"] for port in rule["ports"]}
                asking = {peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
                          for peer in rule.get("from", [])}  # fmt: skip
                if "internal" in ports and (ports != {"internal"} or asking != {"ingest", "reader"}):
                    self.complain(f"{label(policy)}: the internal port is open to {asking}")
                if not ports:
                    self.complain(f"{label(policy)}: opens every port")

    def check_routes(self):
        """Every path that is known goes to its role alone, and those that are for inside to nobody."""
        for found in self.of("Ingress"):
            for rule in found["spec"]["rules"]:
                paths = [(path["path"], path["backend"]["service"]) for path in rule["http"]["paths"]]
                for service in (service for _, service in paths):
                    self.is_api(found, service["name"], service["port"]["name"])
                # As ingress-nginx has it: from the beginning, in any case.
                self.goes(found, [(re.compile(f"^{path}", re.I).search, service["name"]) for path, service in paths])
        for found in self.of("HTTPRoute"):
            paths = [(match["path"], backend) for rule in found["spec"]["rules"]
                     for match in rule["matches"] for backend in rule["backendRefs"]]  # fmt: skip
            for path, backend in paths:
                self.is_api(found, backend["name"], backend["port"])
                if path["type"] != "RegularExpression":
                    self.complain(f"{label(found)}: {path} is no regular expression")
            # Of the whole path, or of any part of it.
            for how in ("fullmatch", "search"):
                self.goes(found, [(getattr(re.compile(path["value"]), how), backend["name"]) for path, backend in paths])

    def is_api(self, owner, name, port):
        for service in self.of("Service"):
            if service["metadata"]["name"] == name:
                if any(port in (open["name"], open["port"]) and open["name"] == "http" for open in service["spec"]["ports"]):
                    return
        self.complain(f"{label(owner)}: {name}:{port} is no port of an API")

    def goes(self, owner, patterns):
        shown = {"/health"} if self.values.get("routes", {}).get("health") else set()
        for role, paths in self.routes.items():
            for path in paths:
                services = {service for matches, service in patterns if matches(path)}
                known = {service: self.component(service) for service in services}
                if role == "operating":
                    right = set(known.values()) == ({"control-plane"} if path in shown else set())
                else:
                    right = list(known.values()) in ([role], ["embedded"])
                if not right:
                    self.complain(f"{label(owner)}: {path} of {role} goes to {sorted(services) or 'nobody'}")

    def component(self, service):
        for found in self.of("Service"):
            if found["metadata"]["name"] == service:
                return found["metadata"]["labels"]["app.kubernetes.io/component"]
        return None


def label(found):
    return f"{found['kind']}/{found['metadata']['name']}"


def is_hook(found):
    return "helm.sh/hook" in found["metadata"].get("annotations", {})


def selects(wanted, labels):
    return bool(wanted) and wanted.items() <= labels.items()


def port_of(service, number):
    return any(port["port"] == number for port in service["spec"]["ports"])
