"""The rig: stand-ins that remember outside the gateway, faults between, processes to kill, load, and the checker.

Everything speaks to a gateway through its HTTP API only. The parts are processes of their own, tied together by
`processes.Rig`; each prints one line of JSON with its ports and ends when its standard input does.
"""
