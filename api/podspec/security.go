package podspec

import (
	"regexp"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podSecurityContext is about what is set for all containers at once.
func (v *validator) podSecurityContext(specPath *field.Path) {
	c := v.spec.SecurityContext
	if v.spec.ShareProcessNamespace != nil && *v.spec.ShareProcessNamespace && v.spec.HostPID {
		v.Invalid(specPath.Child("securityContext"), "shareProcessNamespace", true, "may not be true together with hostPID")
	}
	if c == nil || *emptied(c) == (podSecurityScalars{}) && len(c.SupplementalGroups) == 0 && len(c.Sysctls) == 0 {
		return
	}
	at := specPath.Child("securityContext")
	v.groupID(c.FSGroup, at, "fsGroup")
	v.userID(c.RunAsUser, at)
	v.groupID(c.RunAsGroup, at, "runAsGroup")
	for i, gid := range c.SupplementalGroups {
		for _, m := range validation.IsValidGroupID(gid) {
			v.Invalid(at.Child("supplementalGroups").Index(i), "", gid, m)
		}
	}
	v.sysctls(c.Sysctls, at.Child("sysctls"))
	if p := c.FSGroupChangePolicy; p != nil {
		kind.OneOf(&v.Problems, at, "fsGroupChangePolicy", *p, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	v.seccomp(c.SeccompProfile, at)
	v.windowsOptions(c.WindowsOptions, at)
	v.appArmor(c.AppArmorProfile, at)
	if p := c.SupplementalGroupsPolicy; p != nil {
		kind.OneOf(&v.Problems, at, "supplementalGroupsPolicy", *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if p := c.SELinuxChangePolicy; p != nil {
		kind.OneOf(&v.Problems, at, "seLinuxChangePolicy", *p, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	}
}

// podSecurityScalars are the pointers in a pod's security context: comparable, to see quickly that none is set.
type podSecurityScalars struct {
	fsGroup, user, group *int64
	fsPolicy             *corev1.PodFSGroupChangePolicy
	seccomp              *corev1.SeccompProfile
	windows              *corev1.WindowsSecurityContextOptions
	appArmor             *corev1.AppArmorProfile
	groupsPolicy         *corev1.SupplementalGroupsPolicy
	seLinuxPolicy        *corev1.PodSELinuxChangePolicy
}

func emptied(c *corev1.PodSecurityContext) *podSecurityScalars {
	return &podSecurityScalars{c.FSGroup, c.RunAsUser, c.RunAsGroup, c.FSGroupChangePolicy, c.SeccompProfile, c.WindowsOptions,
		c.AppArmorProfile, c.SupplementalGroupsPolicy, c.SELinuxChangePolicy}
}

func (ps *problems) userID(id *int64, at *field.Path) {
	if id == nil {
		return
	}
	for _, m := range validation.IsValidUserID(*id) {
		ps.Invalid(at, "runAsUser", *id, m)
	}
}

func (ps *problems) groupID(id *int64, at *field.Path, child string) {
	if id == nil {
		return
	}
	for _, m := range validation.IsValidGroupID(*id) {
		ps.Invalid(at, child, *id, m)
	}
}

func (v *validator) securityContext(c *corev1.SecurityContext, parent *field.Path) {
	if c == nil {
		return
	}
	at := parent.Child("securityContext")
	v.userID(c.RunAsUser, at)
	v.groupID(c.RunAsGroup, at, "runAsGroup")
	if m := c.ProcMount; m != nil {
		kind.OneOf(&v.Problems, at, "procMount", *m, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if v.hostUsers && *m == corev1.UnmaskedProcMount {
			v.Invalid(at, "procMount", *m, "needs hostUsers to be false")
		}
	}
	v.seccomp(c.SeccompProfile, at)
	if c.AllowPrivilegeEscalation != nil && !*c.AllowPrivilegeEscalation {
		if c.Privileged != nil && *c.Privileged {
			v.Invalid(at, "", "privileged", "may not be true when allowPrivilegeEscalation is false")
		}
		if c.Capabilities != nil {
			for _, capability := range c.Capabilities.Add {
				if capability == "CAP_SYS_ADMIN" {
					v.Invalid(at, "", "capabilities.add", "may not have CAP_SYS_ADMIN when allowPrivilegeEscalation is false")
				}
			}
		}
	}
	v.windowsOptions(c.WindowsOptions, at)
	v.appArmor(c.AppArmorProfile, at)
}

func (ps *problems) seccomp(p *corev1.SeccompProfile, parent *field.Path) {
	if p == nil {
		return
	}
	at := parent.Child("seccompProfile")
	kind.RequiredOneOf(&ps.Problems, at, "type", p.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && p.LocalhostProfile == nil:
		ps.Required(at, "localhostProfile", "must be set when type is Localhost")
	case local:
		ps.descendingPath(*p.LocalhostProfile, at, "localhostProfile")
	case p.LocalhostProfile != nil:
		ps.Invalid(at, "localhostProfile", *p.LocalhostProfile, "may be set when type is Localhost only")
	}
}

// appArmorProfileMax is the longest path of a profile.
const appArmorProfileMax = 4095

func (ps *problems) appArmor(p *corev1.AppArmorProfile, parent *field.Path) {
	if p == nil {
		return
	}
	at := parent.Child("appArmorProfile")
	kind.RequiredOneOf(&ps.Problems, at, "type", p.Type, corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			ps.Required(at, "localhostProfile", "must be set when type is Localhost")
			return
		}
		name := *p.LocalhostProfile
		if strings.TrimSpace(name) != name {
			ps.Invalid(at, "localhostProfile", name, "must not begin or end with white space")
		} else if name == "" {
			ps.Required(at, "localhostProfile", "must be set when type is Localhost")
		}
		if len(name) > appArmorProfileMax {
			ps.List = append(ps.List, field.TooLong(at.Child("localhostProfile"), name, appArmorProfileMax))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			ps.Invalid(at, "localhostProfile", *p.LocalhostProfile, "may be set when type is Localhost only")
		}
	}
}

// sysctlNameMax is the longest name of a kernel parameter.
const sysctlNameMax = 253

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (v *validator) sysctls(list []corev1.Sysctl, at *field.Path) {
	var seen kind.NameSet
	for i := range list {
		name, here := list[i].Name, at.Index(i)
		switch {
		case name == "":
			v.Required(here, "name", "")
		case len(name) > sysctlNameMax || !sysctlName.MatchString(name):
			v.Invalid(here, "name", name, "is no name of a kernel parameter")
		case !seen.Add(name):
			v.Duplicate(here, "name", name)
		}
		if v.allow.HostNamespaceSysctls {
			continue
		}
		// A parameter of a namespace that the pod shares with the node would change the node.
		switch dotted := sysctlWithDots(name); {
		case v.spec.HostNetwork && strings.HasPrefix(dotted, "net."):
			v.Invalid(here, "name", name, "may not be set when hostNetwork is true")
		case v.spec.HostIPC && ipcSysctl(dotted):
			v.Invalid(here, "name", name, "may not be set when hostIPC is true")
		}
	}
}

func ipcSysctl(name string) bool {
	switch name {
	case "kernel.sem":
		return true
	}
	return strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || strings.HasPrefix(name, "fs.mqueue.")
}

// sysctlWithDots turns names that are separated by slashes into the usual form; in those a dot stands for a slash.
func sysctlWithDots(name string) string {
	first := strings.IndexAny(name, "./")
	if first < 0 || name[first] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}
