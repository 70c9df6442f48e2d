package core

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) containers(at *field.Path) {
	list := v.spec.Containers
	if len(list) == 0 {
		v.required(at, "", "")
		return
	}
	for i := range list {
		c, here := &list[i], at.Index(i)
		v.container(c, here)
		if !v.names.add(c.Name) {
			v.duplicate(here, "name", c.Name)
		}
		v.lifecycleAndProbes(c, here)
		v.restartRules(c, here)
	}
	v.hostPortConflicts(list, at)
}

func (v *podValidator) initContainers(at *field.Path) {
	list := v.spec.InitContainers
	for i := range list {
		c, here := &list[i], at.Child("initContainers").Index(i)
		v.container(c, here)
		v.restartRules(c, here)
		if v.names.has(c.Name) || c.Name != "" && !v.names.add(c.Name) {
			v.duplicate(here, "name", c.Name)
		}
		// Init containers run one after another, so each has the host's ports to itself.
		v.hostPortConflicts(list[i:i+1], at.Child("initContainers"))
		if restartable(c) {
			v.lifecycleAndProbes(c, here)
			continue
		}
		const detail = "may not be set for init containers without restartPolicy Always"
		if c.Lifecycle != nil {
			v.forbidden(here, "lifecycle", detail)
		}
		if c.LivenessProbe != nil {
			v.forbidden(here, "livenessProbe", detail)
		}
		if c.ReadinessProbe != nil {
			v.forbidden(here, "readinessProbe", detail)
		}
		if c.StartupProbe != nil {
			v.forbidden(here, "startupProbe", detail)
		}
	}
}

// ephemeralContainerFields are what a container that is added to a running pod for debugging may have. It is a list
// of what is allowed, so that new fields are thought about first.
var ephemeralContainerFields = map[string]bool{
	"Name": true, "Image": true, "Command": true, "Args": true, "WorkingDir": true, "EnvFrom": true, "Env": true,
	"VolumeMounts": true, "VolumeDevices": true, "TerminationMessagePath": true, "TerminationMessagePolicy": true,
	"ImagePullPolicy": true, "SecurityContext": true, "Stdin": true, "StdinOnce": true, "TTY": true,
}

func (v *podValidator) ephemeralContainers(at *field.Path) {
	const detail = "may not be set for ephemeral containers"
	list := v.spec.EphemeralContainers
	var own names // may not be targets
	for i := range list {
		e, here := &list[i], at.Child("ephemeralContainers").Index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		v.container(c, here)
		v.imageWithoutSpace(c, here)
		if v.names.has(c.Name) || !own.add(c.Name) {
			v.duplicate(here, "name", c.Name)
		}
		if t := e.TargetContainerName; t != "" && !v.names.has(t) {
			v.notFound(here, "targetContainerName", t)
		}
		value := reflect.ValueOf(e.EphemeralContainerCommon)
		for f := 0; f < value.NumField(); f++ {
			name := value.Type().Field(f).Name
			if !ephemeralContainerFields[name] && !value.Field(f).IsZero() {
				v.forbidden(here, strings.ToLower(name[:1])+name[1:], detail)
			}
		}
		for j := range c.VolumeMounts {
			if c.VolumeMounts[j].SubPath != "" {
				v.forbidden(here.Child("volumeMounts").Index(j), "subPath", detail)
			}
			if c.VolumeMounts[j].SubPathExpr != "" {
				v.forbidden(here.Child("volumeMounts").Index(j), "subPathExpr", detail)
			}
		}
	}
}

// container holds the rules that are the same for all kinds of containers.
func (v *podValidator) container(c *corev1.Container, at *field.Path) {
	if c.Name == "" {
		v.required(at, "name", "")
	} else {
		v.label(at, "name", c.Name)
	}
	if c.Image == "" {
		v.required(at, "image", "")
	}
	requiredOneOf(&v.problems, at, "terminationMessagePolicy", c.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	v.ports(c.Ports, at)
	v.env(c.Env, at)
	v.envFrom(c.EnvFrom, at)
	v.volumeMounts(c, at)
	v.volumeDevices(c, at)
	v.pullPolicy(c.ImagePullPolicy, at, "imagePullPolicy")
	if r := &c.Resources; len(r.Limits) > 0 || len(r.Requests) > 0 || len(r.Claims) > 0 {
		v.containerResources(r, at.Child("resources"), validateContainerResourceName)
	}
	v.resizePolicy(c.ResizePolicy, at)
	v.securityContext(c.SecurityContext, at)
}

func (v *podValidator) pullPolicy(p corev1.PullPolicy, at *field.Path, child string) {
	requiredOneOf(&v.problems, at, child, p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// imageWithoutSpace is for pods alone: in templates such images have always been accepted.
func (v *podValidator) imageWithoutSpace(c *corev1.Container, at *field.Path) {
	if strings.TrimSpace(c.Image) != c.Image {
		v.invalid(at, "image", c.Image, "must not begin or end with white space")
	}
}

func (v *podValidator) ports(ports []corev1.ContainerPort, at *field.Path) {
	var seen names
	for i := range ports {
		port, here := &ports[i], at.Child("ports").Index(i)
		if port.Name != "" {
			if msgs := validation.IsValidPortName(port.Name); len(msgs) > 0 {
				v.messages(here, "name", port.Name, msgs)
			} else if !seen.add(port.Name) {
				v.duplicate(here, "name", port.Name)
			}
		}
		if port.ContainerPort == 0 {
			v.required(here, "containerPort", "")
		} else {
			v.portNumber(int(port.ContainerPort), here, "containerPort")
		}
		if port.HostPort != 0 {
			v.portNumber(int(port.HostPort), here, "hostPort")
		}
		requiredOneOf(&v.problems, here, "protocol", port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	}
}

func (v *podValidator) portNumber(n int, at *field.Path, child string) {
	for _, m := range validation.IsValidPortNum(n) {
		v.invalid(at, child, n, m)
	}
}

// hostPortConflicts: a port of the node can be taken once.
func (v *podValidator) hostPortConflicts(list []corev1.Container, at *field.Path) {
	type taken struct {
		protocol corev1.Protocol
		ip       string
		port     int32
	}
	var seen map[taken]bool
	for i := range list {
		for j := range list[i].Ports {
			port := &list[i].Ports[j]
			if port.HostPort == 0 {
				continue
			}
			key := taken{port.Protocol, port.HostIP, port.HostPort}
			if seen[key] {
				v.duplicate(at.Index(i).Child("ports").Index(j), "hostPort", fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort))
				continue
			}
			if seen == nil {
				seen = map[taken]bool{}
			}
			seen[key] = true
		}
	}
}

// Bounds of a container's restart rules.
const (
	restartRulesMax      = 20
	restartRuleValuesMax = 255
)

// restartRules are a container's own restart policy and the exit codes that make an exception of it.
func (v *podValidator) restartRules(c *corev1.Container, at *field.Path) {
	if c.RestartPolicy != nil {
		oneOf(&v.problems, at, "restartPolicy", *c.RestartPolicy, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)
	} else if len(c.RestartPolicyRules) > 0 {
		v.required(at, "restartPolicy", "must be set when restartPolicyRules are")
	}
	if n := len(c.RestartPolicyRules); n > restartRulesMax {
		v.list = append(v.list, field.TooMany(at.Child("restartPolicyRules"), n, restartRulesMax))
	}
	for i := range c.RestartPolicyRules {
		rule, here := &c.RestartPolicyRules[i], at.Child("restartPolicyRules").Index(i)
		oneOf(&v.problems, here, "action", rule.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if rule.ExitCodes == nil {
			v.required(here, "exitCodes", "must be set")
			continue
		}
		here = here.Child("exitCodes")
		oneOf(&v.problems, here, "operator", rule.ExitCodes.Operator, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(rule.ExitCodes.Values); n > restartRuleValuesMax {
			v.list = append(v.list, field.TooMany(here.Child("values"), n, restartRuleValuesMax))
		}
	}
}
