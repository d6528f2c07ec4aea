"""Alerts and dashboards: that what they ask for is there."""

import json
import re

import yaml

FROM_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"}}
# Of every series, by how it is collected.
COLLECTED = {"job", "instance", "namespace", "pod", "le"}
WORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "offset"}


class Watching:
    def __init__(self, metrics, complain):
        self.metrics, self.complain = metrics, complain

    def check_alerts(self, file, wanted):
        """Every expression is of what there is, and what the documents say to alert on is alerted on."""
        seen, names = set(), []
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                place = f"{file.name}: {rule.get('alert')}"
                names.append(rule["alert"])
                seen |= self.check_expression(place, rule["expr"])
                if rule["labels"]["severity"] not in ("page", "ticket"):
                    self.complain(f"{place}: is neither for now nor for later")
                if not {"summary", "description"} <= set(rule["annotations"]):
                    self.complain(f"{place}: does not say what it means")
        for name in {name for name in names if names.count(name) > 1}:
            self.complain(f"{file.name}: {name} is there twice")
        for metric in wanted - seen:
            self.complain(f"{file.name}: nothing alerts on {metric}, as docs/operating.md says to")

    def check_dashboard(self, file):
        board = json.loads(file.read_text())
        panels = board["panels"]
        if len({panel["id"] for panel in panels}) != len(panels):
            self.complain(f"{file.name}: two panels have one id")
        for panel in panels:
            for target in panel.get("targets", []):
                self.check_expression(f"{file.name}: {panel['title']}", target["expr"])

    def check_expression(self, place, expression):
        """Names of the metrics that it asks for."""
        found = set()
        plain = re.sub(r'"[^"]*"', '""', expression)
        grouped = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", plain)
        plain = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", plain)
        plain = re.sub(r"\[[^\]]*\]", "", plain)
        allowed = set(COLLECTED)
        for name, selector in re.findall(r"(?<![\w$])([a-zA-Z_:][\w:]*)(?!\w)\s*(?!\s*\()(\{[^}]*\})?", plain):
            if name in WORDS or re.search(rf"{name}\s*\(", plain):
                continue
            if re.search(rf"\{{[^}}]*\b{name}\s*(?:=|!)", plain):
                continue
            labels = self.labels_of(place, name)
            allowed |= labels
            found.add(self.base(name))
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""):
                if label not in labels | COLLECTED:
                    self.complain(f"{place}: {name} has no label {label}")
        for label in re.findall(r"\w+", " ".join(grouped)):
            if label not in allowed:
                self.complain(f"{place}: nothing in it has a label {label}")
        if not found:
            self.complain(f"{place}: asks for nothing")
        return found

    def base(self, name):
        bare = re.sub(r"_(bucket|sum|count)$", "", name)
        return bare if self.metrics.get(bare, ("", ()))[0] == "histogram" else name

    def labels_of(self, place, name):
        if name in FROM_PROMETHEUS:
            return FROM_PROMETHEUS[name]
        kind, labels = self.metrics.get(self.base(name), (None, set()))
        if kind is None or (kind == "histogram") != (self.base(name) != name):
            self.complain(f"{place}: {name} is no metric of docs/operating.md")
        return labels
