"""From a spec and a catalogue to a plan: which statements, in which order, under which locks."""
