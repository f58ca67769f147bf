"""What goes wrong outside of us: kills, lost sessions, blockers, full disks, wrong servers, and what may leak."""
