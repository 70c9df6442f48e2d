package podspec

import (
	"path"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volume is the pod's volume of that name, nil if there is none without problems.
func (v *validator) volume(name string) *corev1.Volume {
	if v.byName != nil {
		return v.byName[name]
	}
	for _, volume := range v.volumes {
		if volume.Name == name {
			return volume
		}
	}
	return nil
}

// volumesIndexed is the number of volumes from which looking for one by one would take too long.
const volumesIndexed = 16

func (v *validator) addVolume(volume *corev1.Volume) {
	v.volumes = append(v.volumes, volume)
	switch {
	case v.byName != nil:
		v.byName[volume.Name] = volume
	case len(v.volumes) == volumesIndexed:
		v.byName = make(map[string]*corev1.Volume, len(v.spec.Volumes))
		for _, known := range v.volumes {
			v.byName[known.Name] = known
		}
	}
}

func (v *validator) volumeMounts(c *corev1.Container, at *field.Path) {
	var paths, devices, devicePaths kind.NameSet
	for i := range c.VolumeDevices {
		devices.Add(c.VolumeDevices[i].Name)
		devicePaths.Add(c.VolumeDevices[i].DevicePath)
	}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		volume := v.volume(m.Name)
		unique := paths.Add(m.MountPath)
		if volume != nil && volume.Image == nil && m.Name != "" && m.MountPath != "" && len(c.VolumeDevices) == 0 &&
			m.SubPath == "" && m.SubPathExpr == "" && m.MountPropagation == nil && m.RecursiveReadOnly == nil && unique {
			continue
		}
		here := at.Child("volumeMounts").Index(i)
		if !unique {
			v.Invalid(here, "mountPath", m.MountPath, "must be unique")
		}
		if devices.Has(m.Name) {
			v.Invalid(here, "name", m.Name, "is already in volumeDevices")
		}
		if devicePaths.Has(m.MountPath) {
			v.Invalid(here, "mountPath", m.MountPath, "is already a path in volumeDevices")
		}
		v.volumeMount(c, i, volume, at.Child("volumeMounts"))
	}
}

// volumeMount judges the i-th mount. The paths of some problems lack its index: clients know them so.
func (v *validator) volumeMount(c *corev1.Container, i int, volume *corev1.Volume, at *field.Path) {
	m, here := &c.VolumeMounts[i], at.Index(i)
	if m.Name == "" {
		v.Required(here, "name", "")
	}
	if volume == nil {
		v.NotFound(here, "name", m.Name)
	}
	if m.MountPath == "" {
		v.Required(here, "mountPath", "")
	}
	if volume != nil && volume.Image != nil {
		if m.SubPath != "" {
			v.Invalid(here, "subPath", m.SubPath, "is not possible for image volumes")
		}
		if m.SubPathExpr != "" {
			v.Invalid(here, "subPathExpr", m.SubPathExpr, "is not possible for image volumes")
		}
	}
	if m.SubPath != "" {
		v.descendingPath(m.SubPath, at, "subPath")
	}
	if m.SubPathExpr != "" {
		if m.SubPath != "" {
			v.Invalid(here, "subPathExpr", m.SubPathExpr, "may not be set together with subPath")
		}
		v.descendingPath(m.SubPathExpr, at, "subPathExpr")
	}
	v.mountPropagation(c, m, at)
	v.recursiveReadOnly(m, at)
}

func (v *validator) mountPropagation(c *corev1.Container, m *corev1.VolumeMount, at *field.Path) {
	if m.MountPropagation == nil {
		return
	}
	mode := *m.MountPropagation
	kind.OneOf(&v.Problems, at, "mountPropagation", mode, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	if mode == corev1.MountPropagationBidirectional && !privileged {
		v.Forbidden(at, "mountPropagation", "Bidirectional is for privileged containers only")
	}
}

func (v *validator) recursiveReadOnly(m *corev1.VolumeMount, at *field.Path) {
	if m.RecursiveReadOnly == nil {
		return
	}
	mode := *m.RecursiveReadOnly
	kind.OneOf(&v.Problems, at, "recursiveReadOnly", mode, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)
	if mode != corev1.RecursiveReadOnlyEnabled && mode != corev1.RecursiveReadOnlyIfPossible {
		return
	}
	if !m.ReadOnly {
		v.Forbidden(at, "recursiveReadOnly", "needs readOnly to be true")
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		v.Forbidden(at, "recursiveReadOnly", "needs mountPropagation to be None or not set")
	}
}

func (v *validator) volumeDevices(c *corev1.Container, at *field.Path) {
	if len(c.VolumeDevices) == 0 {
		return
	}
	var seen, paths, mounts, mountPaths kind.NameSet
	for i := range c.VolumeMounts {
		mounts.Add(c.VolumeMounts[i].Name)
		mountPaths.Add(c.VolumeMounts[i].MountPath)
	}
	for i := range c.VolumeDevices {
		d, here := &c.VolumeDevices[i], at.Child("volumeDevices").Index(i)
		volume := v.volume(d.Name)
		if d.Name == "" {
			v.Required(here, "name", "")
		}
		switch {
		case volume == nil:
			v.NotFound(here, "name", d.Name)
		case volume.PersistentVolumeClaim == nil && volume.Ephemeral == nil:
			v.Invalid(here, "name", d.Name, "must be a volume of a PersistentVolumeClaim to be used as a block device")
		}
		if d.DevicePath == "" {
			v.Required(here, "devicePath", "")
		}
		if d.Name != "" && !seen.Add(d.Name) {
			v.Invalid(here, "name", d.Name, "must be unique")
		}
		if climbs(d.DevicePath) {
			v.Invalid(here, "devicePath", d.DevicePath, "must not contain '..'")
		} else if !paths.Add(d.DevicePath) {
			v.Invalid(here, "devicePath", d.DevicePath, "must be unique")
		}
		if mounts.Has(d.Name) {
			v.Invalid(here, "name", d.Name, "is already in volumeMounts")
		}
		if mountPaths.Has(d.DevicePath) {
			v.Invalid(here, "devicePath", d.DevicePath, "is already a path in volumeMounts")
		}
	}
}

// climbs tells whether a path has an element "..", which could lead out of where it belongs.
func climbs(p string) bool {
	if !strings.Contains(p, "..") {
		return false
	}
	for _, element := range strings.Split(p, "/") {
		if element == ".." {
			return true
		}
	}
	return false
}

// descendingPath accepts relative paths that stay below where they start.
func (ps *problems) descendingPath(p string, at *field.Path, child string) {
	if path.IsAbs(p) {
		ps.Invalid(at, child, p, "must be a relative path")
	}
	if climbs(p) {
		ps.Invalid(at, child, p, "must not contain '..'")
	}
}

// pathInVolume is a descendingPath whose first element does not begin with two dots: such names are the kubelet's own.
func (ps *problems) pathInVolume(p string, at *field.Path, child string) {
	ps.descendingPath(p, at, child)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		ps.Invalid(at, child, p, "must not start with '..'")
	}
}
