"""Run `service.cli.roles.challenger_child` for trainers of the previous release, which start it by this name.

The next release removes it.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("service.cli.roles.challenger_child", run_name="__main__", alter_sys=True)
