"""Train students side by side, each in a child process. Parent and child share a folder and two pipes."""
