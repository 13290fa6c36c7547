"""What the processes of one node share and how a process loads: decoded pixels, threads, memory."""
