package podspec

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestContainersFindsEveryList fills each field of PodSpec that is a list of something with an image, and expects to meet all.
func TestContainersFindsEveryList(t *testing.T) {
	spec := &corev1.PodSpec{}
	v := reflect.ValueOf(spec).Elem()
	want := map[string]bool{}
	for n := range v.NumField() {
		f := v.Field(n)
		if f.Kind() != reflect.Slice || f.Type().Elem().Kind() != reflect.Struct {
			continue
		}
		if image, ok := f.Type().Elem().FieldByName("Image"); !ok || image.Type.Kind() != reflect.String {
			continue
		}
		f.Set(reflect.MakeSlice(f.Type(), 2, 2))
		for i := range 2 {
			image := fmt.Sprintf("%s-%d", v.Type().Field(n).Name, i)
			f.Index(i).FieldByName("Image").SetString(image)
			want[image] = true
		}
	}
	if len(want) < 6 {
		t.Fatalf("found only %v", want)
	}
	for c := range Containers(spec) {
		if !want[c.Image] {
			t.Errorf("met %q twice, or unknown", c.Image)
		}
		delete(want, c.Image)
		c.Image = "changed"
	}
	if len(want) > 0 {
		t.Errorf("not met: %v", slices.Collect(maps.Keys(want)))
	}
	if spec.EphemeralContainers[1].Image != "changed" {
		t.Error("a change of an ephemeral container is lost")
	}
}

// filler puts a unique name into every place of a pod where a secret or a ConfigMap is named.
type filler struct{ secrets, configMaps map[string]bool }

var (
	localReference  = reflect.TypeFor[corev1.LocalObjectReference]()
	secretReference = reflect.TypeFor[corev1.SecretReference]()
)

// fill walks over all fields. path tells where it is.
func (f *filler) fill(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if strings.Count(path, ".") > 12 || v.Type().Elem().PkgPath() != reflect.TypeFor[corev1.Pod]().PkgPath() {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem().PkgPath() != reflect.TypeFor[corev1.Pod]().PkgPath() {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0), path)
	case reflect.Struct:
		f.fillStruct(v, path)
	}
}

func (f *filler) fillStruct(v reflect.Value, path string) {
	for n := range v.NumField() {
		field := v.Type().Field(n)
		where := path + "." + field.Name
		isSecret := strings.Contains(where, "Secret")
		switch {
		case field.Name == "SecretName":
			v.Field(n).SetString(where)
			f.secrets[where] = true
		case field.Type == secretReference || field.Type == localReference:
			v.Field(n).FieldByName("Name").SetString(where)
			if isSecret {
				f.secrets[where] = true
			} else if strings.Contains(where, "ConfigMap") {
				f.configMaps[where] = true
			}
		default:
			f.fill(v.Field(n), where)
		}
	}
}

// TestReferencesFindsEveryPlace fills each kind of volume and each kind of container in turn.
func TestReferencesFindsEveryPlace(t *testing.T) {
	for _, list := range []string{"Volumes", "Containers", "InitContainers", "EphemeralContainers", "ImagePullSecrets"} {
		f := &filler{secrets: map[string]bool{}, configMaps: map[string]bool{}}
		pod := &corev1.Pod{}
		field := reflect.ValueOf(&pod.Spec).Elem().FieldByName(list)
		switch list {
		case "Volumes":
			source := reflect.TypeFor[corev1.VolumeSource]()
			for n := range source.NumField() {
				// One volume for each source; the claim template of an ephemeral volume refers to nothing the pod reads.
				if source.Field(n).Name == "Ephemeral" {
					continue
				}
				v := corev1.Volume{}
				f.fill(reflect.ValueOf(&v.VolumeSource).Elem().Field(n), source.Field(n).Name)
				pod.Spec.Volumes = append(pod.Spec.Volumes, v)
			}
		case "ImagePullSecrets":
			pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "ImagePullSecrets"}}
			f.secrets["ImagePullSecrets"] = true
		default:
			f.fill(field, list)
		}
		met := map[string]bool{}
		for r := range Secrets(pod) {
			met[r.Name] = true
		}
		if !maps.Equal(met, f.secrets) {
			t.Errorf("%s: secrets met\n%v\nwant\n%v", list, slices.Sorted(maps.Keys(met)), slices.Sorted(maps.Keys(f.secrets)))
		}
		met = map[string]bool{}
		for r := range ConfigMaps(pod) {
			met[r.Name] = true
		}
		if !maps.Equal(met, f.configMaps) {
			t.Errorf("%s: ConfigMaps met\n%v\nwant\n%v", list, slices.Sorted(maps.Keys(met)), slices.Sorted(maps.Keys(f.configMaps)))
		}
	}
}

func TestClaims(t *testing.T) {
	name := "given"
	pod := &corev1.Pod{}
	pod.Name = "p"
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "a", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
		{Name: "b", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	if got := slices.Collect(Claims(pod)); !slices.Equal(got, []string{"c", "p-b"}) {
		t.Errorf("claims: %v", got)
	}
	template := "made"
	pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x", ResourceClaimName: &name}, {Name: "y"}}
	pod.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "y", ResourceClaimName: &template}}
	pod.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "extended"}
	if got := slices.Collect(ResourceClaims(pod)); !slices.Equal(got, []string{"given", "made", "extended"}) {
		t.Errorf("resource claims: %v", got)
	}
}
