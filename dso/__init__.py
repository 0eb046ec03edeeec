"""Who runs and checks it: cycles, settlement, store, scheduler, command line, reports, audit."""
