"""What tests share: servers, databases, proxies, waiting, row helpers and builders."""
