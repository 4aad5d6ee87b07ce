"""`python -m gateway` is `crm-gateway`."""

from gateway.cli import main

main(prog_name="crm-gateway")
