{ networking.hostName = "laptop-anna"; }
