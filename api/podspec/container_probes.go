package podspec

import (
	"fmt"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) lifecycleAndProbes(c *corev1.Container, at *field.Path) {
	if l := c.Lifecycle; l != nil {
		if h := l.PostStart; h != nil {
			v.handler(handler{exec: h.Exec, httpGet: h.HTTPGet, tcpSocket: h.TCPSocket, sleep: h.Sleep}, at.Child("lifecycle", "postStart"))
		}
		if h := l.PreStop; h != nil {
			v.handler(handler{exec: h.Exec, httpGet: h.HTTPGet, tcpSocket: h.TCPSocket, sleep: h.Sleep}, at.Child("lifecycle", "preStop"))
		}
	}
	if p := c.LivenessProbe; p != nil {
		v.probe(p, at.Child("livenessProbe"))
		v.onceIsSuccess(p, at.Child("livenessProbe"))
	}
	if p := c.ReadinessProbe; p != nil {
		v.probe(p, at.Child("readinessProbe"))
		if p.TerminationGracePeriodSeconds != nil {
			v.Invalid(at.Child("readinessProbe"), "terminationGracePeriodSeconds", *p.TerminationGracePeriodSeconds, "may not be set for readiness probes")
		}
	}
	if p := c.StartupProbe; p != nil {
		v.probe(p, at.Child("startupProbe"))
		v.onceIsSuccess(p, at.Child("startupProbe"))
	}
}

func (v *validator) onceIsSuccess(p *corev1.Probe, at *field.Path) {
	if p.SuccessThreshold != 1 {
		v.Invalid(at, "successThreshold", p.SuccessThreshold, "must be 1")
	}
}

func (v *validator) probe(p *corev1.Probe, at *field.Path) {
	v.handler(handler{exec: p.Exec, httpGet: p.HTTPGet, tcpSocket: p.TCPSocket, grpc: p.GRPC}, at)
	v.NotNegative(at, "initialDelaySeconds", int64(p.InitialDelaySeconds))
	v.NotNegative(at, "timeoutSeconds", int64(p.TimeoutSeconds))
	v.NotNegative(at, "periodSeconds", int64(p.PeriodSeconds))
	v.NotNegative(at, "successThreshold", int64(p.SuccessThreshold))
	v.NotNegative(at, "failureThreshold", int64(p.FailureThreshold))
	if s := p.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		v.Invalid(at, "terminationGracePeriodSeconds", *s, "must be greater than 0")
	}
}

// handler is what a probe or a lifecycle hook does: exactly one of these.
type handler struct {
	exec      *corev1.ExecAction
	httpGet   *corev1.HTTPGetAction
	tcpSocket *corev1.TCPSocketAction
	grpc      *corev1.GRPCAction
	sleep     *corev1.SleepAction
}

func (v *validator) handler(h handler, at *field.Path) {
	found := false
	// first tells whether this action may stay: further ones are forbidden and not looked into.
	first := func(child string) bool {
		if found {
			v.Forbidden(at, child, "may have one action only")
			return false
		}
		found = true
		return true
	}
	if h.exec != nil && first("exec") && len(h.exec.Command) == 0 {
		v.Required(at.Child("exec"), "command", "")
	}
	if h.httpGet != nil && first("httpGet") {
		v.httpGet(h.httpGet, at.Child("httpGet"))
	}
	if h.tcpSocket != nil && first("tcpSocket") {
		v.portNumberOrName(h.tcpSocket.Port, at.Child("tcpSocket"))
	}
	if h.grpc != nil && first("grpc") {
		v.portNumber(int(h.grpc.Port), at.Child("grpc"), "port")
	}
	if h.sleep != nil && first("sleep") {
		if grace := v.spec.TerminationGracePeriodSeconds; grace != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *grace) {
			v.Invalid(at, "sleep", h.sleep.Seconds, fmt.Sprintf("must be 0 or more and at most terminationGracePeriodSeconds (%d)", *grace))
		}
	}
	if !found {
		v.Required(at, "", "must have an action")
	}
}

func (v *validator) httpGet(g *corev1.HTTPGetAction, at *field.Path) {
	if g.Path == "" {
		v.Required(at, "path", "")
	}
	v.portNumberOrName(g.Port, at)
	kind.OneOf(&v.Problems, at, "scheme", g.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
	for _, header := range g.HTTPHeaders {
		v.Messages(at, "httpHeaders", header.Name, validation.IsHTTPHeaderName(header.Name))
	}
}

func (v *validator) portNumberOrName(port intstr.IntOrString, at *field.Path) {
	if port.Type == intstr.String {
		v.Messages(at, "port", port.StrVal, validation.IsValidPortName(port.StrVal))
		return
	}
	v.portNumber(port.IntValue(), at, "port")
}
