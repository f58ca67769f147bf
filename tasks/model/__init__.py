"""The words of Changeover as frozen data: spec, operations, catalogue, plan, status, errors. No I/O."""
