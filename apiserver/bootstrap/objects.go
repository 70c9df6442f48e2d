package bootstrap

import (
	"encoding/json"
	"maps"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
)

const (
	metaDefault = metav1.NamespaceDefault
	metaSystem  = metav1.NamespaceSystem
	metaPublic  = metav1.NamespacePublic

	masterName = "kubernetes"
	portName   = "https"
	// servicePort is the port of the service default/kubernetes.
	servicePort = 443
)

func same(a, b kind.Object) bool { return equality.Semantic.DeepEqual(a, b) }

func newNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func priorityClasses() []*schedulingv1.PriorityClass {
	preempt := corev1.PreemptLowerPriority
	return []*schedulingv1.PriorityClass{
		{
			ObjectMeta:  metav1.ObjectMeta{Name: "system-cluster-critical"},
			Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
			Value:       2000000000, PreemptionPolicy: &preempt,
		},
		{
			ObjectMeta:  metav1.ObjectMeta{Name: "system-node-critical"},
			Description: "Used for system critical pods that must not be moved from their current node.",
			Value:       2000001000, PreemptionPolicy: &preempt,
		},
	}
}

// authenticationConfig tells aggregated API servers whom to trust.
func authenticationConfig(o *Options) *corev1.ConfigMap {
	list := func(values []string) string {
		data, err := json.Marshal(values)
		if err != nil {
			return "[]"
		}
		return string(data)
	}
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metaSystem, Name: "extension-apiserver-authentication"}, Data: map[string]string{}}
	if len(o.ClientCA) > 0 {
		c.Data["client-ca-file"] = string(o.ClientCA)
	}
	if len(o.FrontProxyCA) > 0 {
		c.Data["requestheader-client-ca-file"] = string(o.FrontProxyCA)
		c.Data["requestheader-allowed-names"] = list(o.FrontProxyNames)
		c.Data["requestheader-username-headers"] = list(auth.FrontProxyUserHeaders)
		c.Data["requestheader-group-headers"] = list(auth.FrontProxyGroupHeaders)
		c.Data["requestheader-extra-headers-prefix"] = list(auth.FrontProxyExtraPrefixes)
	}
	return c
}

func mergeData(have, want *corev1.ConfigMap) {
	if have.Data == nil {
		have.Data = map[string]string{}
	}
	maps.Copy(have.Data, want.Data)
}

// legacyTokenTracking says since when the use of tokens kept in secrets is recorded.
func legacyTokenTracking(now time.Time) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metaSystem, Name: "kube-apiserver-legacy-service-account-token-tracking"},
		Data:       map[string]string{"since": now.UTC().Format(time.DateOnly)},
	}
}

func masterService(o *Options) *corev1.Service {
	family, policy := corev1.IPv4Protocol, corev1.IPFamilyPolicySingleStack
	if isIPv6(o.ServiceIP) {
		family = corev1.IPv6Protocol
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metaDefault, Name: masterName,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Ports: []corev1.ServicePort{{
				Name: portName, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(int32(o.Port)),
			}},
			SessionAffinity: corev1.ServiceAffinityNone, Type: corev1.ServiceTypeClusterIP,
			IPFamilies: []corev1.IPFamily{family}, IPFamilyPolicy: &policy,
		},
	}
	if o.ServiceIP != nil {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = o.ServiceIP.String(), []string{o.ServiceIP.String()}
	}
	return s
}

func reconcileService(have, want *corev1.Service) {
	have.Spec.Ports = want.Spec.Ports
	have.Spec.Type = want.Spec.Type
}

func withLabels(have, want map[string]string) map[string]string {
	if have == nil {
		have = map[string]string{}
	}
	maps.Copy(have, want)
	return have
}

func isIPv6(ip net.IP) bool { return ip != nil && ip.To4() == nil }
