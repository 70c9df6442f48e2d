package podspec

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Bounds of what Windows takes.
const (
	gmsaSpecMax      = 64 * 1024
	windowsDomainMax = 256
	windowsUserMax   = 104
)

var (
	controlCharacters = regexp.MustCompile(`[[:cntrl:]]`)
	netBIOSName       = regexp.MustCompile(`^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$`)
	windowsDNSName    = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	notInWindowsUser  = regexp.MustCompile(`["/\\:;|=,+*?<>@\[\]]`)
	dotsAndSpacesOnly = regexp.MustCompile(`^[. ]+$`)
)

func (ps *problems) windowsOptions(o *corev1.WindowsSecurityContextOptions, parent *field.Path) {
	if o == nil {
		return
	}
	at := parent.Child("windowsOptions")
	if o.GMSACredentialSpecName != nil {
		ps.Subdomain(at, "gmsaCredentialSpecName", *o.GMSACredentialSpecName)
	}
	if spec := o.GMSACredentialSpec; spec != nil {
		if *spec == "" {
			ps.Invalid(at, "gmsaCredentialSpec", *spec, "must not be empty")
		} else if len(*spec) > gmsaSpecMax {
			ps.Invalid(at, "gmsaCredentialSpec", "", "must be under 64 KiB")
		}
	}
	if o.RunAsUserName != nil {
		ps.Messages(at, "runAsUserName", *o.RunAsUserName, windowsUserMessages(*o.RunAsUserName))
	}
}

// windowsUserMessages judges a user name with or without a domain: DOMAIN\USER.
func windowsUserMessages(name string) (messages []string) {
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		return []string{"must not be empty"}
	case controlCharacters.MatchString(name):
		return []string{"must not contain control characters"}
	case len(parts) > 2:
		return []string{"must not contain more than one backslash"}
	}
	user := parts[len(parts)-1]
	if len(parts) == 2 {
		if len(parts[0]) >= windowsDomainMax {
			messages = append(messages, "the domain must be under 256 characters")
		}
		if !netBIOSName.MatchString(parts[0]) && !windowsDNSName.MatchString(parts[0]) {
			messages = append(messages, "the domain must be a NetBIOS or DNS name")
		}
	}
	if user == "" {
		messages = append(messages, "the user must not be empty")
	}
	if len(user) > windowsUserMax {
		messages = append(messages, "the user must not be longer than 104 characters")
	}
	if dotsAndSpacesOnly.MatchString(user) {
		messages = append(messages, "the user must not be dots and spaces only")
	}
	if notInWindowsUser.MatchString(user) {
		messages = append(messages, `the user must not contain any of "/\:;|=,+*?<>@[]`)
	}
	return messages
}

// windowsHostProcess: containers that are processes of the node are so all together, and in the node's network.
func (v *validator) windowsHostProcess(at *field.Path) {
	var whole *bool
	if c := v.spec.SecurityContext; c != nil && c.WindowsOptions != nil {
		whole = c.WindowsOptions.HostProcess
	}
	containers, processes := 0, 0
	for c := range Containers(v.spec) {
		containers++
		own := whole
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil && c.SecurityContext.WindowsOptions.HostProcess != nil {
			own = c.SecurityContext.WindowsOptions.HostProcess
			if whole != nil && *whole != *own {
				v.Invalid(c.Path(at).Child("securityContext", "windowsOptions"), "hostProcess", *own, "must be the same as for the pod")
			}
		}
		if own != nil && *own {
			processes++
		}
	}
	if processes == 0 {
		return
	}
	if processes != containers {
		v.Invalid(at, "", "", "must have hostProcess for all containers or for none")
	}
	if !v.spec.HostNetwork {
		v.Invalid(at, "hostNetwork", false, "must be true for hostProcess containers")
	}
}

// operatingSystem: a pod that names its system may not have what only the other one knows.
func (v *validator) operatingSystem(at *field.Path) {
	os := v.spec.OS
	switch {
	case os == nil:
	case os.Name == "":
		v.Required(at.Child("os"), "name", "must not be empty")
	case os.Name == corev1.Linux:
		v.linuxOnly(at)
	case os.Name == corev1.Windows:
		v.windowsOnly(at)
	default:
		kind.OneOf(&v.Problems, at, "os", os.Name, corev1.Linux, corev1.Windows)
	}
}

func (v *validator) linuxOnly(at *field.Path) {
	const detail = "may not be set for a pod on Linux"
	if c := v.spec.SecurityContext; c != nil && c.WindowsOptions != nil {
		v.Forbidden(at.Child("securityContext"), "windowsOptions", detail)
	}
	for c := range Containers(v.spec) {
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
			v.Forbidden(c.Path(at).Child("securityContext"), "windowsOptions", detail)
		}
	}
}

func (v *validator) windowsOnly(at *field.Path) {
	s := v.spec
	v.notOnWindows(at, []settable{
		{"hostUsers", s.HostUsers != nil}, {"hostPID", s.HostPID}, {"hostIPC", s.HostIPC}, {"shareProcessNamespace", s.ShareProcessNamespace != nil},
		{"resources", s.Resources != nil},
	})
	if c := s.SecurityContext; c != nil {
		v.notOnWindows(at.Child("securityContext"), []settable{
			{"appArmorProfile", c.AppArmorProfile != nil}, {"seLinuxOptions", c.SELinuxOptions != nil}, {"seccompProfile", c.SeccompProfile != nil},
			{"fsGroup", c.FSGroup != nil}, {"fsGroupChangePolicy", c.FSGroupChangePolicy != nil}, {"sysctls", len(c.Sysctls) > 0},
			{"runAsUser", c.RunAsUser != nil}, {"runAsGroup", c.RunAsGroup != nil}, {"supplementalGroups", c.SupplementalGroups != nil},
			{"supplementalGroupsPolicy", c.SupplementalGroupsPolicy != nil}, {"seLinuxChangePolicy", c.SELinuxChangePolicy != nil},
		})
	}
	for c := range Containers(s) {
		sc := c.SecurityContext
		if sc == nil {
			continue
		}
		v.notOnWindows(c.Path(at).Child("securityContext"), []settable{
			{"appArmorProfile", sc.AppArmorProfile != nil}, {"seLinuxOptions", sc.SELinuxOptions != nil}, {"seccompProfile", sc.SeccompProfile != nil},
			{"capabilities", sc.Capabilities != nil}, {"readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil}, {"privileged", sc.Privileged != nil},
			{"allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil}, {"procMount", sc.ProcMount != nil},
			{"runAsUser", sc.RunAsUser != nil}, {"runAsGroup", sc.RunAsGroup != nil},
		})
	}
}

// settable is a field and whether it is set.
type settable struct {
	name string
	set  bool
}

func (ps *problems) notOnWindows(at *field.Path, fields []settable) {
	for _, f := range fields {
		if f.set {
			ps.Forbidden(at, f.name, "may not be set for a pod on Windows")
		}
	}
}
