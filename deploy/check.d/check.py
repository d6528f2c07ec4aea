"""Looks for mistakes in deploy/: see deploy/check, which renders the chart first.

    check.py ROOT WORK      WORK has what the chart rendered, NAME.yaml for each ci/NAME-values.yaml
"""

import re
import sys
from pathlib import Path

import yaml

import compose
import facts
from chart import Rendered, check_schema
from watching import Watching


def main(root, work):
    problems = []
    complain = problems.append
    product = facts.Product(root)
    deploy = root / "deploy"

    compose.check_image(root, product, complain)
    secrets = compose.check_secrets(root, work, complain)
    for name in ("compose.yaml", "compose.cluster.yaml"):
        compose.Composed(deploy / name, secrets, product, complain).check()
    services = yaml.safe_load((deploy / "compose.cluster.yaml").read_text())["services"]
    compose.check_front(deploy / "compose.d/front.cfg", services, product.routes, complain)

    chart = deploy / "helm/thalweg"
    check_schema(chart, product, complain)
    for file in sorted((chart / "ci").glob("*-values.yaml")):
        name = file.name.removesuffix("-values.yaml")
        rendered = work / f"{name}.yaml"
        if rendered.exists():
            values = yaml.safe_load(file.read_text())
            Rendered(name, rendered.read_text(), values, product, complain).check()

    watching = Watching(product.metrics, complain)
    watching.check_alerts(deploy / "alerts.yaml", product.alerted_metrics)
    for file in sorted((deploy / "dashboards").glob("*.json")):
        watching.check_dashboard(file)
    check_words(root, product.settings, complain)

    for problem in problems:
        print(f"deploy/check: {problem}", file=sys.stderr)
    return bool(problems)


def check_words(root, settings, complain):
    """No text in deploy/ names a variable that there is not."""
    # What deploy/cluster prints is no setting.
    known = {"THALWEG_URL"} | set(settings) | {f"{name}_FILE" for name, setting in settings.items() if setting.is_secret}
    for file in [root / "deploy/README.md", *root.glob("deploy/*.yaml"), *root.glob("deploy/helm/**/*.[ytN]*")]:
        for name in sorted(set(re.findall(r"\bTHALWEG_[A-Z_]*[A-Z]\b", file.read_text())) - known):
            complain(f"{file.relative_to(root)}: {name} is no setting")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
