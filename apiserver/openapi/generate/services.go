//go:build generate

package main

import (
	"fmt"
	"slices"

	restful "github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// services are the routes of everything that is served, one service a path of discovery.
func services() ([]*restful.WebService, error) {
	metav1.AddToGroupVersion(scheme.Scheme, schema.GroupVersion{Version: "v1"})
	container := restful.NewContainer()
	var versions []schema.GroupVersion
	for _, k := range api.Kinds() {
		if gv := k.GVK.GroupVersion(); !slices.Contains(versions, gv) {
			versions = append(versions, gv)
		}
	}
	seen := map[string]bool{"": true}
	for _, gv := range versions {
		if err := install(container, gv); err != nil {
			return nil, fmt.Errorf("%s: %w", gv, err)
		}
		if !seen[gv.Group] {
			seen[gv.Group] = true
			container.Add(discovery.NewAPIGroupHandler(scheme.Codecs, metav1.APIGroup{Name: gv.Group}).WebService())
		}
	}
	addresses := discovery.DefaultAddresses{}
	container.Add(discovery.NewRootAPIsHandler(addresses, scheme.Codecs).WebService())
	container.Add(discovery.NewLegacyRootAPIHandler(addresses, scheme.Codecs, "/api").WebService())
	addOthers(container)
	return container.RegisteredWebServices(), nil
}

// install makes the routes of one group and version.
func install(container *restful.Container, gv schema.GroupVersion) error {
	storage := map[string]rest.Storage{}
	for _, k := range api.Kinds() {
		if k.GVK.GroupVersion() == gv {
			if err := describe(storage, k); err != nil {
				return err
			}
		}
	}
	root := "/apis"
	if gv.Group == "" {
		root = "/api"
	}
	_, _, err := (&endpoints.APIGroupVersion{
		Storage: storage, Root: root, GroupVersion: gv, OptionsExternalVersion: &schema.GroupVersion{Version: "v1"},
		MetaGroupVersion: &schema.GroupVersion{Group: "meta.k8s.io", Version: "v1"}, Serializer: scheme.Codecs, ParameterCodec: scheme.ParameterCodec,
		Typer: scheme.Scheme, Creater: scheme.Scheme, Convertor: scheme.Scheme, ConvertabilityChecker: scheme.Scheme, Defaulter: scheme.Scheme,
		Namer: runtime.Namer(meta.NewAccessor()), UnsafeConvertor: runtime.UnsafeObjectConvertor(scheme.Scheme),
		EquivalentResourceRegistry: runtime.NewEquivalentResourceRegistry(), TypeConverter: managedfields.NewDeducedTypeConverter(),
	}).InstallREST(container)
	return err
}

// describe adds a kind and its subresources.
func describe(storage map[string]rest.Storage, k *kind.Kind) error {
	r := resource{kind: k, gvk: k.GVK, new: func() runtime.Object { return k.New() }}
	switch has := func(verb kind.Verb) bool { return k.Serves(verb) }; {
	case has(kind.DeleteCollection):
		storage[k.Plural] = collection{stored{r}}
	case has(kind.Delete):
		storage[k.Plural] = stored{r}
	case has(kind.Create):
		storage[k.Plural] = created{r}
	default:
		storage[k.Plural] = read{r}
	}
	for _, p := range k.Parts {
		if slices.Contains(p.Verbs, kind.Get) {
			storage[k.Plural+"/"+p.Name] = part{replaced{r}}
		} else {
			storage[k.Plural+"/"+p.Name] = replaced{r}
		}
	}
	if k.Scale != nil {
		s, err := other(k, schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"})
		if err != nil {
			return err
		}
		storage[k.Plural+"/scale"] = part{replaced{s}}
	}
	for _, a := range k.Actions {
		s, err := other(k, a.Kind)
		if err != nil {
			return err
		}
		switch {
		case a.Name == "log":
			storage[k.Plural+"/"+a.Name] = logs{s}
		case a.Name == "proxy":
			storage[k.Plural+"/"+a.Name] = connected{s, true, []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}}
		case slices.Contains(a.Verbs, kind.Get):
			storage[k.Plural+"/"+a.Name] = connected{s, false, []string{"GET", "POST"}}
		default:
			storage[k.Plural+"/"+a.Name] = named{s}
		}
	}
	return nil
}

// other is a resource whose body is of another kind.
func other(k *kind.Kind, gvk schema.GroupVersionKind) (resource, error) {
	if _, err := scheme.Scheme.New(gvk); err != nil {
		return resource{}, err
	}
	return resource{kind: k, gvk: gvk, new: func() runtime.Object {
		obj, err := scheme.Scheme.New(gvk)
		if err != nil {
			panic(err)
		}
		return obj
	}}, nil
}

// addOthers describes what is no resource: the version, and the documents by which others verify service account tokens.
func addOthers(container *restful.Container) {
	nothing := func(*restful.Request, *restful.Response) {}
	code := new(restful.WebService).Path("/version").Doc("get the version information for this server.")
	code.Route(code.GET("/").To(nothing).Doc("get the version information for this server").Operation("getCodeVersion").
		Produces(restful.MIME_JSON).Consumes(restful.MIME_JSON).Writes(version.Info{}))
	config := new(restful.WebService).Path("/.well-known/openid-configuration").Produces(restful.MIME_JSON)
	config.Route(config.GET("").To(nothing).Doc("get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'").
		Operation("getServiceAccountIssuerOpenIDConfiguration").Returns(200, "OK", ""))
	keys := new(restful.WebService).Path("/openid/v1/jwks").Produces("application/jwk-set+json")
	keys.Route(keys.GET("").To(nothing).Doc("get service account issuer OpenID JSON Web Key Set (contains public token verification keys)").
		Operation("getServiceAccountIssuerOpenIDKeyset").Returns(200, "OK", ""))
	container.Add(code)
	container.Add(config)
	container.Add(keys)
}
