package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// preparePodStatus keeps what nodes must not touch.
func preparePodStatus(next, old *corev1.Pod) {
	next.DeletionTimestamp, next.DeletionGracePeriodSeconds = old.DeletionTimestamp, old.DeletionGracePeriodSeconds
	next.Generation = old.Generation
	next.OwnerReferences = old.OwnerReferences
	if next.Status.QOSClass == "" {
		next.Status.QOSClass = old.Status.QOSClass
	}
	if next.Status.ObservedGeneration == 0 {
		next.Status.ObservedGeneration = old.Status.ObservedGeneration
	}
	keepConditionGenerations(next.Status.Conditions, old.Status.Conditions)
}

// keepConditionGenerations fills in the observed generations that an older node leaves out. There may be several
// conditions of a type; they are taken in order.
func keepConditionGenerations(next, old []corev1.PodCondition) {
	var before map[corev1.PodConditionType][]int64
	for i := range old {
		if old[i].ObservedGeneration != 0 && before == nil {
			before = map[corev1.PodConditionType][]int64{}
		}
	}
	if before == nil {
		return
	}
	for i := range old {
		before[old[i].Type] = append(before[old[i].Type], old[i].ObservedGeneration)
	}
	for i := range next {
		list := before[next[i].Type]
		if len(list) == 0 {
			continue
		}
		if next[i].ObservedGeneration == 0 {
			next[i].ObservedGeneration = list[0]
		}
		before[next[i].Type] = list[1:]
	}
}

func validatePodStatus(next, old *corev1.Pod) field.ErrorList {
	var ps problems
	ps.Add(podspec.ValidateAnnotationChanges(&next.ObjectMeta, &old.ObjectMeta, annotationsPath))
	ps.Add(podspec.ValidateAnnotations(next.Annotations, &next.Spec, annotationsPath))
	for i := range next.Status.Conditions {
		switch t := next.Status.Conditions[i].Type; t {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReadyToStartContainers:
		default: // the paths are upstream's
			ps.Messages(metadataPath.Child("conditions").Index(i), "Type", string(t), kind.QualifiedName(string(t)))
		}
	}
	if name := next.Status.NominatedNodeName; name != "" && name != old.Status.NominatedNodeName {
		ps.Subdomain(statusPath, "nominatedNodeName", name)
	}
	if next.Status.QOSClass != old.Status.QOSClass {
		// The node has set the pod up by it.
		ps.Invalid(statusPath, "qosClass", next.Status.QOSClass, "field is immutable")
	}
	ps.stateTransitions(next, old)
	ps.claimStatuses(next)
	if len(next.Status.PodIPs) > 0 {
		ps.addresses(podIPsOf(next), "podIPs")
	}
	if hostIPs := next.Status.HostIPs; len(hostIPs) > 0 {
		if next.Status.HostIP != hostIPs[0].IP {
			ps.Invalid(statusPath.Child("hostIPs").Index(0), "ip", hostIPs[0].IP, "must equal hostIP")
		}
		ps.addresses(hostIPsOf(next), "hostIPs")
	}
	ps.containerUsers(next)
	ps.allocatedStatus(next.Status.ContainerStatuses, next.Spec.Containers, "containerStatuses")
	ps.allocatedStatus(next.Status.InitContainerStatuses, next.Spec.InitContainers, "initContainerStatuses")
	for i := range next.Status.EphemeralContainerStatuses {
		if len(next.Status.EphemeralContainerStatuses[i].AllocatedResourcesStatus) > 0 {
			ps.Forbidden(statusPath.Child("ephemeralContainerStatuses").Index(i), "allocatedResourcesStatus", "may not be set for ephemeral containers")
		}
	}
	return ps.List
}

func podIPsOf(p *corev1.Pod) []string {
	ips := make([]string, len(p.Status.PodIPs))
	for i := range ips {
		ips[i] = p.Status.PodIPs[i].IP
	}
	return ips
}

func hostIPsOf(p *corev1.Pod) []string {
	ips := make([]string, len(p.Status.HostIPs))
	for i := range ips {
		ips[i] = p.Status.HostIPs[i].IP
	}
	return ips
}

// addresses: at most one of each family.
func (ps *problems) addresses(ips []string, child string) {
	at := statusPath.Child(child)
	for i, ip := range ips {
		ps.Add(validation.IsValidIP(at.Index(i), ip))
	}
	if len(ips) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		ps.List = append(ps.List, field.InternalError(at, err))
	}
	if !dual || len(ips) > 2 {
		ps.Invalid(at, "", ips, "may have one address of each family only")
	}
	var seen kind.NameSet
	for i := range ips {
		if !seen.Add(ips[i]) {
			ps.Duplicate(at.Index(i), "", ips[i])
		}
	}
}

// stateTransitions: what has ended and is not to be restarted stays ended.
func (ps *problems) stateTransitions(next, old *corev1.Pod) {
	ps.staysTerminated(next.Status.ContainerStatuses, old.Status.ContainerStatuses, old.Spec.Containers, old.Spec.RestartPolicy, "containerStatuses")
	ps.staysTerminated(next.Status.InitContainerStatuses, old.Status.InitContainerStatuses, old.Spec.InitContainers, old.Spec.RestartPolicy, "initContainerStatuses")
	ps.staysTerminated(next.Status.EphemeralContainerStatuses, old.Status.EphemeralContainerStatuses, nil, corev1.RestartPolicyNever, "ephemeralContainerStatuses")
}

func (ps *problems) staysTerminated(next, old []corev1.ContainerStatus, containers []corev1.Container, policy corev1.RestartPolicy, child string) {
	if policy == corev1.RestartPolicyAlways {
		return
	}
	for i := range old {
		ended := old[i].State.Terminated
		if ended == nil || ended.ExitCode != 0 && policy == corev1.RestartPolicyOnFailure || restartsItself(containers, old[i].Name) {
			continue
		}
		for j := range next {
			if next[j].Name == old[i].Name && next[j].State.Terminated == nil {
				ps.Forbidden(statusPath.Child(child).Index(i), "state", "may not leave the terminated state")
			}
		}
	}
}

// restartsItself tells whether a container has a restart policy of its own that may start it again, or, since rules of
// any container may restart all of them, whether such a rule exists.
func restartsItself(containers []corev1.Container, name string) bool {
	for i := range containers {
		c := &containers[i]
		for _, rule := range c.RestartPolicyRules {
			if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers || c.Name == name {
				return true
			}
		}
		if c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy != corev1.ContainerRestartPolicyNever {
			return true
		}
	}
	return false
}

func (ps *problems) claimStatuses(p *corev1.Pod) {
	if len(p.Status.ResourceClaimStatuses) == 0 {
		return
	}
	var claims, seen kind.NameSet
	for i := range p.Spec.ResourceClaims {
		claims.Add(p.Spec.ResourceClaims[i].Name)
	}
	for i, s := range p.Status.ResourceClaimStatuses {
		at := statusPath.Child("resourceClaimStatuses").Index(i)
		if !claims.Has(s.Name) {
			ps.Invalid(at, "name", s.Name, "must be the name of an entry in spec.resourceClaims")
		}
		if !seen.Add(s.Name) {
			ps.Duplicate(at, "name", s.Name)
		}
		if s.ResourceClaimName != nil {
			ps.Subdomain(at, "name", *s.ResourceClaimName)
		}
	}
}

func (ps *problems) containerUsers(p *corev1.Pod) {
	windows := p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows
	for _, list := range []struct {
		name     string
		statuses []corev1.ContainerStatus
	}{
		{"containerStatuses", p.Status.ContainerStatuses},
		{"initContainerStatuses", p.Status.InitContainerStatuses},
		{"ephemeralContainerStatuses", p.Status.EphemeralContainerStatuses},
	} {
		for i := range list.statuses {
			user := list.statuses[i].User
			if user == nil || user.Linux == nil {
				continue
			}
			at := statusPath.Child(list.name).Index(i).Child("linux")
			if windows {
				ps.Forbidden(at, "", "may not be set for a pod on Windows")
				continue
			}
			for _, m := range validation.IsValidUserID(user.Linux.UID) {
				ps.Invalid(at, "uid", user.Linux.UID, m)
			}
			for _, m := range validation.IsValidGroupID(user.Linux.GID) {
				ps.Invalid(at, "gid", user.Linux.GID, m)
			}
			for j, gid := range user.Linux.SupplementalGroups {
				for _, m := range validation.IsValidGroupID(gid) {
					ps.Invalid(at.Child("supplementalGroups").Index(j), "", gid, m)
				}
			}
		}
	}
}

// allocatedStatus is about the health of devices that a container got.
func (ps *problems) allocatedStatus(statuses []corev1.ContainerStatus, containers []corev1.Container, child string) {
	for i := range statuses {
		for j := range statuses[i].AllocatedResourcesStatus {
			r, at := &statuses[i].AllocatedResourcesStatus[j], statusPath.Child(child).Index(i).Child("allocatedResourcesStatus").Index(j)
			if !asksFor(containers, statuses[i].Name, r.Name) {
				ps.Invalid(at, "name", r.Name, "must be a resource or claim that the container asks for")
			}
			var ids kind.NameSet
			for k := range r.Resources {
				here := at.Child("resources").Index(k)
				kind.OneOf(&ps.Problems, here, "health", r.Resources[k].Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
				if id := string(r.Resources[k].ResourceID); !ids.Add(id) {
					ps.Duplicate(here, "resourceID", id)
				}
			}
		}
	}
}

// asksFor tells whether a container requests the resource; containers that are not in the spec may have asked for anything.
func asksFor(containers []corev1.Container, name string, resource corev1.ResourceName) bool {
	for i := range containers {
		if containers[i].Name != name {
			continue
		}
		if claim, ok := strings.CutPrefix(string(resource), "claim:"); ok {
			for _, c := range containers[i].Resources.Claims {
				if claim == c.Name && c.Request == "" || c.Request != "" && claim == c.Name+"/"+c.Request {
					return true
				}
			}
			return false
		}
		_, ok := containers[i].Resources.Requests[resource]
		return ok
	}
	return true
}

func podStatusWarnings(next, _ *corev1.Pod) (warnings []string) {
	for i := range next.Status.PodIPs {
		warnings = append(warnings, validation.GetWarningsForIP(statusPath.Child("podIPs").Index(i).Child("ip"), next.Status.PodIPs[i].IP)...)
	}
	for i := range next.Status.HostIPs {
		warnings = append(warnings, validation.GetWarningsForIP(statusPath.Child("hostIPs").Index(i).Child("ip"), next.Status.HostIPs[i].IP)...)
	}
	return warnings
}
