package placement

import corev1 "k8s.io/api/core/v1"

// nodePorts keeps pods from nodes on which another pod has one of their host ports.
var nodePorts = plugin{
	refusals: []Verdict{
		{Reasons: []string{"node(s) didn't have free ports for the requested pod ports"}, HelpedBy: PodDeparted},
	},
	keyPart: func(_ *Cluster, b []byte, _ *corev1.Pod, d *demand) []byte { return append(b, d.portsKey()...) },
	prepare: func(s *setup) prepared {
		wanted, refusal := readPorts(s.keyPart), s.refusal
		if len(wanted) == 0 {
			return prepared{}
		}
		return prepared{filter: func(n *node) uint16 {
			for _, port := range wanted {
				for _, taken := range n.ports {
					if port.conflicts(taken) {
						return refusal
					}
				}
			}
			return fits
		}}
	},
}

// hostPort is a port that a pod takes on its node. An empty ip is the wildcard.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

func (p hostPort) conflicts(o hostPort) bool {
	return p.port == o.port && p.protocol == o.protocol && (p.ip == o.ip || p.ip == "" || o.ip == "")
}

func appendPort(b []byte, p hostPort) []byte {
	return appendInt(appendText(appendText(b, p.ip), string(p.protocol)), int64(p.port))
}

func readPorts(p keyPart) (ports []hostPort) {
	for p.more() {
		ports = append(ports, hostPort{ip: p.text(), protocol: corev1.Protocol(p.text()), port: int32(p.int())})
	}
	return ports
}

// hostPorts of containers and sidecars.
func hostPorts(pod *corev1.Pod) []hostPort {
	var ports []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			port := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
			if port.ip == "0.0.0.0" {
				port.ip = ""
			}
			if port.protocol == "" {
				port.protocol = corev1.ProtocolTCP
			}
			ports = append(ports, port)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return ports
}
