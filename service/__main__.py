"""`python -m service` is `headrace`."""

from service.cli.app import main

if __name__ == "__main__":
    main()
