"""What the product is, as its sources and documents say it: settings, roles, routes, metrics. Knows nothing of deploy/."""

import re

ROLES = ("control-plane", "ingest", "reader", "webhooks", "writer")
PORT = 8080
INTERNAL_PORT = 8081
LIVE, READY = "/livez", "/readyz"
# A stop takes no longer, as docs/operating.md has it.
STOP_SECONDS_MAX = 25


class Product:
    def __init__(self, root):
        self.settings, self.needs, self.routes, self.metrics = settings(root), needs(root), routes(root), metrics(root)
        self.alerted_metrics = alerted_metrics(root)


class Setting:
    def __init__(self, key, variable, flag, unit):
        self.key, self.variable, self.flag = key, variable, flag
        # Secrets have no flag, except for one, where it is said to be better left alone.
        self.is_secret = flag is None or unit == "password"


def settings(root):
    """All settings by their variables, from docs/configuration.md, which a test holds equal to the definitions."""
    text = (root / "docs/configuration.md").read_text()
    found = {}
    for cells in re.findall(r"^\| `([a-z_]+)` \| `(THALWEG_[A-Z_]+)` \| ([^|]+) \| [^|]+ \| ([^|]+) \|", text, re.M):
        key, variable, flag, unit = (cell.strip() for cell in cells)
        found[variable] = Setting(key, variable, None if flag == "none" else flag.strip("`"), unit)
    assert len(found) > 20, "docs/configuration.md has no table of settings any more"
    return found


def needs(root):
    """Keys of the settings that each role can't do without, from where the program itself looks."""
    text = (root / "thalweg/src/config/check.rs").read_text()
    found = {role: set() for role in ROLES}
    for key, roles in re.findall(r'\(\s*"([a-z_]+)",\s*[^\[()]*(?:\(\))?,\s*&?\[([^\]]+)\],?\s*\)', text):
        for role in re.findall(r"\((\w+)\)", roles):
            found[re.sub(r"(?<!^)(?=[A-Z])", "-", role).lower()].add(key)
    assert found["writer"] and len(found["control-plane"]) > 4, "check.rs has no needs of roles that this check finds"
    # A password that a start makes up is shown on a terminal, which no container has.
    found["control-plane"].add("admin_password")
    found["embedded"] = {"admin_password"}
    found["migrate"] = {"kafka_brokers", "cql_nodes", "postgres_url"}
    return found


def routes(root):
    """Paths that each role answers, a sample for each route; `operating` are those that every process has."""
    table = r'\.(?:get|post|put|patch|delete)\(\s*"(/[^"]+)"'
    sources = {
        "control-plane": ("control-plane/src/api/mod.rs", table),
        "ingest": ("ingest/src/lib.rs", r'^    "(/[^"]+)",$'),
        "reader": ("reader/src/lib.rs", r'ROUTES: &\[&str\] = &\["([^"]+)"'),
        "health": ("crates/service/src/health.rs", table),
        "metrics": ("crates/service/src/metrics.rs", r'ROUTES: &\[&str\] = &\["([^"]+)"'),
    }
    found = {}
    for part, (file, pattern) in sources.items():
        found[part] = sorted({_sample(route) for route in re.findall(pattern, (root / file).read_text(), re.M)})
        assert found[part], f"{file} has no routes that this check finds"
    found["operating"] = found.pop("health") + found.pop("metrics")
    assert {LIVE, READY} <= set(found["operating"])
    return found


def _sample(route):
    route = re.sub(r"\{\*[a-z_]+\}", "a/b", route)
    return re.sub(r"\{[a-z_]+\}", "018f6a3c-1d2e-4b7a-9c3d-0123456789ab", route)


def metrics(root):
    """Type and labels of each metric, from docs/operating.md, which a test holds equal to a scrape."""
    text = (root / "docs/operating.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| ([^|]*) \|", text, re.M)
    assert len(rows) > 20, "docs/operating.md has no table of metrics any more"
    return {name: (kind, set(re.findall(r"`([a-z_]+)`", labels))) for name, kind, labels in rows}


def alerted_metrics(root):
    """The metrics that docs/operating.md says to alert on."""
    text = (root / "docs/operating.md").read_text()
    table = text.split("### What to alert on", 1)[1].split("\n## ", 1)[0]
    conditions = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| "))
    known = metrics(root)
    return {name for name in re.findall(r"[a-z_]+", conditions.replace("_bucket", "")) if name in known}
