{
  networking.hostName = "laptop-ben";
  networking.gateway = "127.0.0.1";
}
