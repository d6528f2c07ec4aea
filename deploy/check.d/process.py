"""How a container runs Thalweg: its arguments and its environment, the same for a chart and for compose."""

import re

import facts


class Process:
    """Arguments, variables, and the files that are there for it to read."""

    def __init__(self, place, arguments, variables, files, product, complain):
        self.place, self.arguments, self.variables, self.files = place, arguments, variables, files
        self.product, self.complain = product, complain

    def check(self):
        """Returns its role: one of a cluster, `embedded`, or `migrate`; nothing if it is none."""
        role = self.check_arguments()
        given = self.check_variables()
        for key in sorted(self.product.needs.get(role, set()) - given):
            self.complain(f"{self.place}: {role} needs {key}")
        return role

    def check_arguments(self):
        flags = {setting.flag: setting.key for setting in self.product.settings.values() if setting.flag}
        action, *rest = self.arguments
        if action not in ("serve", "migrate"):
            self.complain(f"{self.place}: {action} is nothing that thalweg does in a container")
            return None
        values = dict(zip(rest[::2], rest[1::2]))
        for flag in values:
            if flag not in flags:
                self.complain(f"{self.place}: {flag} is no flag of thalweg serve")
        if action == "migrate":
            return "migrate"
        role = values.get("--role", "embedded")
        if role not in (*facts.ROLES, "embedded"):
            self.complain(f"{self.place}: {role} is no role")
        self.listens(values, "--listen", facts.PORT)
        if role == "control-plane":
            self.listens(values, "--internal-listen", facts.INTERNAL_PORT)
        return role

    def listens(self, values, flag, port):
        if values.get(flag) != f"0.0.0.0:{port}":
            self.complain(f"{self.place}: {flag} is {values.get(flag)}, which nobody outside of its container reaches on {port}")

    def check_variables(self):
        """Keys of the settings that have a value."""
        given = set()
        for name, value in self.variables.items():
            setting = self.product.settings.get(name) or self.product.settings.get(name.removesuffix("_FILE"))
            if not name.startswith("THALWEG_"):
                continue
            if setting is None or (name != setting.variable and not setting.is_secret):
                self.complain(f"{self.place}: {name} is no setting")
                continue
            if setting.is_secret and name == setting.variable:
                self.complain(f"{self.place}: {name} is a secret: it comes from a file, by {name}_FILE")
            if setting.is_secret and value not in self.files:
                self.complain(f"{self.place}: {name} names {value}, which is not there; there are {sorted(self.files)}")
            if value in (None, ""):
                self.complain(f"{self.place}: {name} is empty, which counts as not given")
            given.add(setting.key)
        for file in self.files - set(self.variables.values()):
            self.complain(f"{self.place}: {file} is a secret that it does not read")
        return given


def addresses(value):
    """Hosts and ports in a list of addresses or URLs."""
    return [tuple(found) for found in re.findall(r"(?:^|,|//)([A-Za-z0-9.-]+):([0-9]+)", str(value))]
