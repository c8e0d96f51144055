# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups the hosts of an inventory by what a reviewed plan says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.helpers import get_group_vars
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.vars import combine_vars

try:
    from phi4_edge.core.plan.decide import Plan
    from phi4_edge.core.plan.review import BESIDE
    from phi4_edge.core.rollout import planned
    from phi4_edge.core.rollout.waves import Size
    from phi4_edge.errors import Phi4EdgeError
    from phi4_edge.operations import plan_file
except ImportError as error:
    raise AnsibleError("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
name: planned
short_description: Groups hosts by what a reviewed plan says of them
version_added: 0.1.0
author:
  - The phi4-edge authors (!UNKNOWN)
description:
  - Reads a file of plans as C(phi4-edge plan INVENTORY --output json) prints it, and gives the hosts that are in it
    variables C(phi4_plan_*) and groups such as C(engine_onnx), C(profile_edge_optimized), C(wave_1), C(action_none).
  - Adds no host. Name it after the inventory that the plan was made from, or in a directory so that it sorts after it.
    Hosts of the plan that are not there are warned of, and an error with O(strict=true).
  - A plan that was changed after it was made, or by another version of phi4-edge, is refused.
  - The variables are a closed list. C(phi4_plan_engine), C(phi4_plan_profile), C(phi4_plan_quantization),
    C(phi4_plan_accelerator), C(phi4_plan_service_manager), C(phi4_plan_model), C(phi4_plan_release),
    C(phi4_plan_bind), C(phi4_plan_port), C(phi4_plan_context_length) and C(phi4_plan_action) are those of the plan;
    C(phi4_plan_fits) whether anything fits; C(phi4_plan_problem) why the host would not be begun with (V(no_fit),
    V(preflight), V(unreachable), ...), and C(phi4_plan_ready) whether there is no such reason; C(phi4_plan_wave) is
    V(canary) or the number of the wave in which C(phi4-edge provision) would change it.
  - What C(phi4-edge) plans does not depend on them, so the inventory can stay in place for the next plan.
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: Marks a file as one for this plugin.
    type: str
    required: true
    choices:
      - phi4_edge.edge.planned
  plan:
    description: The file of plans. A relative path counts from the file that names it.
    type: str
    required: true
  group_by:
    description:
      - What groups are made by; each makes one group for each value that it has.
      - V(problem) groups the hosts that would not be begun with, V(wave) those that are to be changed.
    type: list
    elements: str
    choices:
      - engine
      - profile
      - quantization
      - accelerator
      - service_manager
      - model
      - action
      - wave
      - problem
    default:
      - engine
      - profile
      - action
      - wave
      - problem
  prefix:
    description: Put in front of the names of these groups. Those of O(keyed_groups) have a prefix of their own.
    type: str
    default: ''
  canary:
    description:
      - Hosts of the canary, as C(phi4-edge provision --canary) takes it. Without it, one host per distinct plan.
    type: str
  wave:
    description: Hosts of a wave after it, as C(phi4-edge provision --wave) takes it.
    type: str
    default: 20%
"""

EXAMPLES = r"""
# phi4-edge plan gateways.ini --output json > reviewed.json
# planned.yml, used as: ansible-inventory -i gateways.ini -i planned.yml --graph
plugin: phi4_edge.edge.planned
plan: reviewed.json

---
# Groups phi4_engine_onnx and phi4_wave_1, port_8080, and gateways that wait for their first release.
plugin: phi4_edge.edge.planned
plan: /srv/plans/reviewed.json
prefix: phi4_
group_by: [engine, wave]
strict: true
compose:
  model_url: "'http://' ~ phi4_plan_bind ~ ':' ~ phi4_plan_port ~ '/v1'"
groups:
  first_release: phi4_plan_action | default('') == 'install'
keyed_groups:
  - prefix: port
    key: phi4_plan_port | string
"""


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]
    """`planned`: what the plan says becomes variables and groups; nothing of a host is looked at."""

    NAME = "phi4_edge.edge.planned"

    def verify_file(self, path: str) -> bool:
        """Whether the file may be one of ours: Ansible has seen who it is for."""
        return bool(super().verify_file(path)) and path.endswith((".yml", ".yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """The inventory knows what the plan says. Raises AnsibleParserError: found, needed, and what to do."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        strict = bool(self.get_option("strict"))
        try:
            told = self._told(path)
        except (Phi4EdgeError, OSError) as error:
            raise AnsibleParserError(str(error)) from error
        self._missing([host for host in told if host not in inventory.hosts], strict)
        for host, variables in told.items():
            if host in inventory.hosts:
                self._tell(host, variables, strict)

    def _told(self, path: str) -> dict[str, dict[str, planned.Value]]:
        """Variables by host. Raises Phi4EdgeError for a file that is no reviewed plan of ours."""
        file = plan_file.read(Path(path).absolute().parent / Path(self.get_option("plan")).expanduser())
        if file.tampered:
            host, why = next(iter(file.tampered.items()))
            raise AnsibleParserError(
                f"found a plan of host {host} that was changed after it was made ({why}), needed it as it was printed: "
                f"{plan_file.AGAIN}"
            )
        plans = {
            host: Plan.from_dict({name: value for name, value in plan.items() if name not in BESIDE})
            for host, plan in file.plans.items()
        }
        canary = self.get_option("canary")
        sizes = (Size.parse(str(canary)) if canary else None, Size.parse(str(self.get_option("wave"))))
        return planned.variables(plans, file.without, *sizes)

    def _missing(self, hosts: list[str], strict: bool) -> None:
        """Hosts of the plan that no source before this one has."""
        if not hosts:
            return
        listed = ", ".join(hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")
        said = (
            f"found hosts in the plan that the inventory does not have ({listed}), needed the inventory that it was "
            "made from, named before this file"
        )
        if strict:
            raise AnsibleParserError(said)
        self.display.warning(said)

    def _tell(self, host: str, variables: dict[str, planned.Value], strict: bool) -> None:
        for name, value in variables.items():
            self.inventory.set_variable(host, name, value)
        for group in planned.groups(variables, self.get_option("group_by"), self.get_option("prefix")):
            self.inventory.add_child(self.inventory.add_group(group), host)
        self._set_composite_vars(self.get_option("compose"), self._known(host), host, strict=strict)
        known = self._known(host)
        self._add_host_to_composed_groups(self.get_option("groups"), known, host, strict=strict, fetch_hostvars=False)
        self._add_host_to_keyed_groups(
            self.get_option("keyed_groups"), known, host, strict=strict, fetch_hostvars=False
        )

    def _known(self, host: str) -> dict[str, Any]:
        """All that the sources so far say of a host, its groups included."""
        found = self.inventory.hosts[host]
        known: dict[str, Any] = combine_vars(get_group_vars(found.get_groups()), found.get_vars())
        return known
