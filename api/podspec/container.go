package podspec

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) containers(at *field.Path) {
	list := v.spec.Containers
	if len(list) == 0 {
		v.Required(at, "", "")
		return
	}
	for i := range list {
		c, here := &list[i], at.Index(i)
		v.container(c, here)
		if !v.names.Add(c.Name) {
			v.Duplicate(here, "name", c.Name)
		}
		v.lifecycleAndProbes(c, here)
		v.restartRules(c, here)
	}
	v.hostPortConflicts(list, at)
}

func (v *validator) initContainers(at *field.Path) {
	list := v.spec.InitContainers
	for i := range list {
		c, here := &list[i], at.Child("initContainers").Index(i)
		v.container(c, here)
		v.restartRules(c, here)
		if v.names.Has(c.Name) || c.Name != "" && !v.names.Add(c.Name) {
			v.Duplicate(here, "name", c.Name)
		}
		// Init containers run one after another, so each has the host's ports to itself.
		v.hostPortConflicts(list[i:i+1], at.Child("initContainers"))
		if Restartable(c) {
			v.lifecycleAndProbes(c, here)
			continue
		}
		const detail = "may not be set for init containers without restartPolicy Always"
		if c.Lifecycle != nil {
			v.Forbidden(here, "lifecycle", detail)
		}
		if c.LivenessProbe != nil {
			v.Forbidden(here, "livenessProbe", detail)
		}
		if c.ReadinessProbe != nil {
			v.Forbidden(here, "readinessProbe", detail)
		}
		if c.StartupProbe != nil {
			v.Forbidden(here, "startupProbe", detail)
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

func (v *validator) ephemeralContainers(at *field.Path) {
	const detail = "may not be set for ephemeral containers"
	list := v.spec.EphemeralContainers
	var own kind.NameSet // may not be targets
	for i := range list {
		e, here := &list[i], at.Child("ephemeralContainers").Index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		v.container(c, here)
		v.imageWithoutSpace(c, here)
		if v.names.Has(c.Name) || !own.Add(c.Name) {
			v.Duplicate(here, "name", c.Name)
		}
		if t := e.TargetContainerName; t != "" && !v.names.Has(t) {
			v.NotFound(here, "targetContainerName", t)
		}
		value := reflect.ValueOf(e.EphemeralContainerCommon)
		for f := 0; f < value.NumField(); f++ {
			name := value.Type().Field(f).Name
			if !ephemeralContainerFields[name] && !value.Field(f).IsZero() {
				v.Forbidden(here, strings.ToLower(name[:1])+name[1:], detail)
			}
		}
		for j := range c.VolumeMounts {
			if c.VolumeMounts[j].SubPath != "" {
				v.Forbidden(here.Child("volumeMounts").Index(j), "subPath", detail)
			}
			if c.VolumeMounts[j].SubPathExpr != "" {
				v.Forbidden(here.Child("volumeMounts").Index(j), "subPathExpr", detail)
			}
		}
	}
}

// container holds the rules that are the same for all kinds of containers.
func (v *validator) container(c *corev1.Container, at *field.Path) {
	if c.Name == "" {
		v.Required(at, "name", "")
	} else {
		v.Label(at, "name", c.Name)
	}
	if c.Image == "" {
		v.Required(at, "image", "")
	}
	kind.RequiredOneOf(&v.Problems, at, "terminationMessagePolicy", c.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
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

func (v *validator) pullPolicy(p corev1.PullPolicy, at *field.Path, child string) {
	kind.RequiredOneOf(&v.Problems, at, child, p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// imageWithoutSpace is for pods alone: in templates such images have always been accepted.
func (v *validator) imageWithoutSpace(c *corev1.Container, at *field.Path) {
	if strings.TrimSpace(c.Image) != c.Image {
		v.Invalid(at, "image", c.Image, "must not begin or end with white space")
	}
}

func (v *validator) ports(ports []corev1.ContainerPort, at *field.Path) {
	var seen kind.NameSet
	for i := range ports {
		port, here := &ports[i], at.Child("ports").Index(i)
		if port.Name != "" {
			if msgs := validation.IsValidPortName(port.Name); len(msgs) > 0 {
				v.Messages(here, "name", port.Name, msgs)
			} else if !seen.Add(port.Name) {
				v.Duplicate(here, "name", port.Name)
			}
		}
		if port.ContainerPort == 0 {
			v.Required(here, "containerPort", "")
		} else {
			v.portNumber(int(port.ContainerPort), here, "containerPort")
		}
		if port.HostPort != 0 {
			v.portNumber(int(port.HostPort), here, "hostPort")
		}
		kind.RequiredOneOf(&v.Problems, here, "protocol", port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	}
}

func (v *validator) portNumber(n int, at *field.Path, child string) {
	for _, m := range validation.IsValidPortNum(n) {
		v.Invalid(at, child, n, m)
	}
}

// hostPortConflicts: a port of the node can be taken once.
func (v *validator) hostPortConflicts(list []corev1.Container, at *field.Path) {
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
				v.Duplicate(at.Index(i).Child("ports").Index(j), "hostPort", fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort))
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
func (v *validator) restartRules(c *corev1.Container, at *field.Path) {
	if c.RestartPolicy != nil {
		kind.OneOf(&v.Problems, at, "restartPolicy", *c.RestartPolicy, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)
	} else if len(c.RestartPolicyRules) > 0 {
		v.Required(at, "restartPolicy", "must be set when restartPolicyRules are")
	}
	if n := len(c.RestartPolicyRules); n > restartRulesMax {
		v.List = append(v.List, field.TooMany(at.Child("restartPolicyRules"), n, restartRulesMax))
	}
	for i := range c.RestartPolicyRules {
		rule, here := &c.RestartPolicyRules[i], at.Child("restartPolicyRules").Index(i)
		kind.OneOf(&v.Problems, here, "action", rule.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if rule.ExitCodes == nil {
			v.Required(here, "exitCodes", "must be set")
			continue
		}
		here = here.Child("exitCodes")
		kind.OneOf(&v.Problems, here, "operator", rule.ExitCodes.Operator, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(rule.ExitCodes.Values); n > restartRuleValuesMax {
			v.List = append(v.List, field.TooMany(here.Child("values"), n, restartRuleValuesMax))
		}
	}
}
