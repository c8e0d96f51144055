"""What watches gateways from outside: Prometheus' targets and alerts, and dashboards of Grafana. Pure."""
