"""Started by supervisors of the release before, by this name; goes with the next release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("service.cli.roles.query_child", run_name="__main__", alter_sys=True)
