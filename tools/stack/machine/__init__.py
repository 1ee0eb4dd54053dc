"""What the local stack asks of the machine it runs on and looks at there: ports, disk, limits, Java, variables."""
