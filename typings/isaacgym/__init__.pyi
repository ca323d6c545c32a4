# isaacgym-stubs holds gymapi alone; `make lint` puts it beside what is here.
