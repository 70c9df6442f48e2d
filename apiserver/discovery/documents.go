package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// group is one API group with its versions in the order of preference.
type group struct {
	name     string
	versions []version
}

// version is one version of a group with its resources by name.
type version struct {
	schema.GroupVersion
	kinds []*kind.Kind
}

// groups sorts kinds; groups and versions come in the order in which the kinds name them.
func groups(kinds []*kind.Kind) []group {
	var all []group
	for _, k := range kinds {
		g := slices.IndexFunc(all, func(g group) bool { return g.name == k.GVK.Group })
		if g < 0 {
			g = len(all)
			all = append(all, group{name: k.GVK.Group})
		}
		v := slices.IndexFunc(all[g].versions, func(v version) bool { return v.Version == k.GVK.Version })
		if v < 0 {
			v = len(all[g].versions)
			all[g].versions = append(all[g].versions, version{GroupVersion: k.GVK.GroupVersion()})
		}
		all[g].versions[v].kinds = append(all[g].versions[v].kinds, k)
	}
	for _, g := range all {
		for _, v := range g.versions {
			slices.SortFunc(v.kinds, func(a, b *kind.Kind) int { return cmp.Compare(a.Plural, b.Plural) })
		}
	}
	return all
}

// subresource is one as discovery shows it.
type subresource struct {
	name  string
	kind  schema.GroupVersionKind
	verbs []string
}

// subresources are a kind's subresources by name.
func subresources(k *kind.Kind) []subresource {
	var all []subresource
	for _, p := range k.Parts {
		all = append(all, subresource{p.Name, k.GVK, kind.Names(p.Verbs)})
	}
	for _, a := range k.Actions {
		all = append(all, subresource{a.Name, a.Kind, kind.Names(a.Verbs)})
	}
	if k.Scale != nil {
		all = append(all, subresource{"scale", schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, []string{"get", "patch", "update"}})
	}
	slices.SortFunc(all, func(a, b subresource) int { return cmp.Compare(a.name, b.name) })
	return all
}

// foreign is a kind's group and version if they are not those of the resource, as documents leave those out.
func foreign(gvk schema.GroupVersionKind, of *kind.Kind) schema.GroupVersionKind {
	if gvk.GroupVersion() == of.GVK.GroupVersion() {
		return schema.GroupVersionKind{Kind: gvk.Kind}
	}
	return gvk
}

func sorted(verbs []string) []string { return slices.Sorted(slices.Values(verbs)) }

// resources is the list of a version, for clients that ask for one version at a time.
func (v version) resources() *metav1.APIResourceList {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList"}, GroupVersion: v.String(), APIResources: []metav1.APIResource{}}
	if v.Group != "" {
		// The core group's list never had an apiVersion.
		list.APIVersion = "v1"
	}
	for _, k := range v.kinds {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.GVK.Kind, Verbs: sorted(kind.Names(k.Verbs)),
			ShortNames: k.ShortNames, Categories: k.Categories, StorageVersionHash: storageVersionHash(k),
		})
		for _, p := range subresources(k) {
			gvk := foreign(p.kind, k)
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: k.Plural + "/" + p.name, Namespaced: k.Namespaced, Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Verbs: sorted(p.verbs)})
		}
	}
	return list
}

// storageVersionHash stands for the version in which a resource is stored, without telling it.
func storageVersionHash(k *kind.Kind) string {
	gv := k.StorageVersion
	switch {
	case k.Via != nil:
		gv = schema.GroupVersion{Group: k.Via.Stored.Group, Version: k.Via.StoredVersion}
	case !k.Stored():
		return ""
	}
	sum := sha256.Sum256([]byte(gv.Group + "/" + gv.Version + "/" + k.GVK.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// apiGroup is what is told of a group by itself.
func (g group) apiGroup() metav1.APIGroup {
	a := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		a.Versions = append(a.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v.String(), Version: v.Version})
	}
	a.PreferredVersion = a.Versions[0]
	return a
}

// aggregated is a group with all its resources.
func (g group) aggregated() apidiscoveryv2.APIGroupDiscovery {
	a := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
	for _, v := range g.versions {
		found := apidiscoveryv2.APIVersionDiscovery{Version: v.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		for _, k := range v.kinds {
			r := apidiscoveryv2.APIResourceDiscovery{
				Resource: k.Plural, ResponseKind: &metav1.GroupVersionKind{Kind: k.GVK.Kind}, Scope: apidiscoveryv2.ScopeCluster,
				SingularResource: k.Singular, Verbs: sorted(kind.Names(k.Verbs)), ShortNames: k.ShortNames, Categories: k.Categories,
			}
			if k.Namespaced {
				r.Scope = apidiscoveryv2.ScopeNamespace
			}
			for _, p := range subresources(k) {
				gvk := metav1.GroupVersionKind(foreign(p.kind, k))
				r.Subresources = append(r.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: p.name, ResponseKind: &gvk, Verbs: sorted(p.verbs)})
			}
			found.Resources = append(found.Resources, r)
		}
		a.Versions = append(a.Versions, found)
	}
	return a
}
