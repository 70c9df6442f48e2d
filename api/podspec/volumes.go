package podspec

import (
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) podVolumes(at *field.Path) {
	list := v.spec.Volumes
	if len(list) == 0 {
		return
	}
	v.volumes = make([]*corev1.Volume, 0, min(len(list), volumesIndexed))
	made := v.madeClaims()
	for i := range list {
		volume, here := &list[i], at.Index(i)
		before := len(v.List)
		v.volumeSource(volume, here)
		if volume.Name == "" {
			v.Required(here, "name", "")
		} else {
			v.Label(here, "name", volume.Name)
		}
		if v.volume(volume.Name) != nil {
			v.Duplicate(here, "name", volume.Name)
		}
		if len(v.List) == before {
			v.addVolume(volume)
		}
		if c := volume.PersistentVolumeClaim; c != nil && made.Has(c.ClaimName) {
			v.Invalid(here.Child("persistentVolumeClaim"), "claimName", c.ClaimName, "must not be a claim that is made for an ephemeral volume of this pod")
		}
	}
}

// madeClaims are the names of the claims that are made for the pod's ephemeral volumes.
func (v *validator) madeClaims() (claims kind.NameSet) {
	if v.meta == nil || v.meta.Name == "" {
		return claims
	}
	for i := range v.spec.Volumes {
		if v.spec.Volumes[i].Ephemeral != nil {
			claims.Add(v.meta.Name + "-" + v.spec.Volumes[i].Name)
		}
	}
	return claims
}

// volumeSource: a volume has exactly one source. Further ones are forbidden and not looked into.
func (v *validator) volumeSource(volume *corev1.Volume, at *field.Path) {
	s, found := &volume.VolumeSource, 0
	first := func(set bool, name string) bool {
		if !set {
			return false
		}
		if found++; found > 1 {
			v.Forbidden(at, name, "may have one type of volume only")
		}
		return found == 1
	}
	if first(s.EmptyDir != nil, "emptyDir") {
		if limit := s.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			v.Forbidden(at.Child("emptyDir"), "sizeLimit", "must not be negative")
		}
	}
	if first(s.HostPath != nil, "hostPath") {
		v.hostPath(s.HostPath, at.Child("hostPath"))
	}
	if first(s.GitRepo != nil, "gitRepo") {
		if s.GitRepo.Repository == "" {
			v.Required(at.Child("gitRepo"), "repository", "")
		}
		v.descendingPath(s.GitRepo.Directory, at.Child("gitRepo"), "directory")
	}
	v.diskSources(s, at, volume.Name, first)
	v.objectSources(s, at, first)
	if first(s.PersistentVolumeClaim != nil, "persistentVolumeClaim") && s.PersistentVolumeClaim.ClaimName == "" {
		v.Required(at.Child("persistentVolumeClaim"), "claimName", "")
	}
	if first(s.CSI != nil, "csi") {
		v.csi(s.CSI, at.Child("csi"))
	}
	if first(s.Ephemeral != nil, "ephemeral") {
		v.ephemeralVolume(volume, at)
	}
	if first(s.Image != nil, "image") {
		if s.Image.Reference == "" && v.meta != nil {
			v.Required(at.Child("image"), "reference", "")
		}
		v.pullPolicy(s.Image.PullPolicy, at.Child("image"), "pullPolicy")
	}
	if found == 0 {
		v.Required(at, "", "must have a type of volume")
	}
}

// objectSources are the volumes whose files are made of API objects.
func (v *validator) objectSources(s *corev1.VolumeSource, at *field.Path, first func(bool, string) bool) {
	if first(s.Secret != nil, "secret") {
		here := at.Child("secret")
		if s.Secret.SecretName == "" {
			v.Required(here, "secretName", "")
		}
		v.fileMode(s.Secret.DefaultMode, here, "defaultMode")
		v.keysToPaths(s.Secret.Items, here)
	}
	if first(s.ConfigMap != nil, "configMap") {
		here := at.Child("configMap")
		if s.ConfigMap.Name == "" {
			v.Required(here, "name", "")
		}
		v.fileMode(s.ConfigMap.DefaultMode, here, "defaultMode")
		v.keysToPaths(s.ConfigMap.Items, here)
	}
	// The missing letter in the name of the second downwardAPI source is upstream's.
	if first(s.DownwardAPI != nil, "downwarAPI") {
		here := at.Child("downwardAPI")
		v.fileMode(s.DownwardAPI.DefaultMode, here, "defaultMode")
		for i := range s.DownwardAPI.Items {
			v.downwardFile(&s.DownwardAPI.Items[i], here)
		}
	}
	if first(s.Projected != nil, "projected") {
		v.projected(s.Projected, at.Child("projected"))
	}
}

func (v *validator) hostPath(s *corev1.HostPathVolumeSource, at *field.Path) {
	if s.Path == "" {
		v.Required(at, "path", "")
		return
	}
	if climbs(s.Path) {
		v.Invalid(at, "path", s.Path, "must not contain '..'")
	}
	if s.Type != nil {
		kind.OneOf(&v.Problems, at, "type", *s.Type, corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
			corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)
	}
}

func (v *validator) csi(s *corev1.CSIVolumeSource, at *field.Path) {
	v.Add(ValidateCSIDriverName(s.Driver, at.Child("driver")))
	if r := s.NodePublishSecretRef; r != nil {
		if r.Name == "" {
			v.Required(at.Child("nodePublishSecretRef"), "name", "")
		} else {
			v.Subdomain(at, "name", r.Name)
		}
	}
}

// csiDriverNameMax is the longest name of a CSI driver.
const csiDriverNameMax = 63

// ValidateCSIDriverName judges the name of a CSI driver: a DNS subdomain in which capital letters are allowed.
func ValidateCSIDriverName(name string, at *field.Path) field.ErrorList {
	var p problems
	if name == "" {
		p.Required(at, "", "")
		return p.List
	}
	if len(name) > csiDriverNameMax {
		p.List = append(p.List, field.TooLong(at, name, csiDriverNameMax))
	}
	p.Messages(at, "", name, kind.DNSSubdomain(strings.ToLower(name)))
	return p.List
}

// ephemeralVolume also looks at the name that the claim will get.
func (v *validator) ephemeralVolume(volume *corev1.Volume, at *field.Path) {
	t := volume.Ephemeral.VolumeClaimTemplate
	if t == nil {
		v.Required(at.Child("ephemeral"), "volumeClaimTemplate", "")
	} else {
		here := at.Child("ephemeral", "volumeClaimTemplate")
		v.Add(apivalidation.ValidateAnnotations(t.Annotations, here.Child("metadata", "annotations")))
		v.Add(validateLabelMap(t.Labels, here.Child("metadata", "labels")))
		v.onlyLabelsAndAnnotations(&t.ObjectMeta, here.Child("metadata"))
		v.Add(ValidateClaim(&t.Spec, here.Child("spec")))
	}
	if v.meta != nil && v.meta.Name != "" && volume.Name != "" {
		v.Messages(at, "name", volume.Name, kind.DNSSubdomain(v.meta.Name+"-"+volume.Name))
	}
}

func (ps *problems) fileMode(mode *int32, at *field.Path, child string) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		ps.Invalid(at, child, *mode, "must be between 0 and 0777 (octal)")
	}
}

func (ps *problems) keysToPaths(items []corev1.KeyToPath, at *field.Path) {
	for i := range items {
		item, here := &items[i], at.Child("items").Index(i)
		if item.Key == "" {
			ps.Required(here, "key", "")
		}
		if item.Path == "" {
			ps.Required(here, "path", "")
		}
		ps.pathInVolume(item.Path, here, "path")
		ps.fileMode(item.Mode, here, "mode")
	}
}

// volumeFieldPaths are the fields of its pod that a volume can show.
var volumeFieldPaths = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

// downwardFile judges one file; its problems are reported at the source, without the index of the item.
func (v *validator) downwardFile(f *corev1.DownwardAPIVolumeFile, at *field.Path) {
	if f.Path == "" {
		v.Required(at, "path", "")
	}
	v.pathInVolume(f.Path, at, "path")
	if f.FieldRef != nil {
		v.fieldRef(f.FieldRef, volumeFieldPaths, at.Child("fieldRef"))
		if f.ResourceFieldRef != nil {
			v.Invalid(at, "", "resource", "may not have both fieldRef and resourceFieldRef")
		}
	} else if f.ResourceFieldRef != nil {
		v.resourceFieldRef(f.ResourceFieldRef, at.Child("resourceFieldRef"), true)
	} else {
		v.Required(at, "", "must have fieldRef or resourceFieldRef")
	}
	v.fileMode(f.Mode, at, "mode")
}
