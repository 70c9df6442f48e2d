//go:build generate

// Command generate builds the OpenAPI documents of the catalog's kinds. It describes each resource to the installer of
// k8s.io/apiserver, whose routes name operations and parameters as clients know them, and has kube-openapi
// write down the routes. The definitions of the types come from openapi-gen, which runs first.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	restful "github.com/emicklei/go-restful/v3"
	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/openapi/generate/definitions"
)

const (
	title  = "Kubernetes"
	served = "v1.37.0"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: generate FOLDER")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// write fills the folder with v2.json, v2.pb and v3/<path>.json, v3/<path>.pb, compressed, and with hashes.json, which
// holds the hash of each JSON document.
func write(folder string) error {
	hashes := map[string]string{}
	services, err := services()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	v2, err := buildV2(services)
	if err != nil {
		return err
	}
	hashes["v2"], err = save(filepath.Join(folder, "v2"), v2, func(data []byte) (proto.Message, error) { return openapi_v2.ParseDocument(data) })
	if err != nil {
		return err
	}
	for _, s := range services {
		path := strings.TrimPrefix(s.RootPath(), "/")
		v3, err := buildV3(s)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name := "v3/" + path
		hashes[name], err = save(filepath.Join(folder, filepath.FromSlash(name)), v3, func(data []byte) (proto.Message, error) { return openapi_v3.ParseDocument(data) })
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	index, err := json.MarshalIndent(hashes, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "hashes.json"), append(index, '\n'), 0o644)
}

func buildV2(services []*restful.WebService) (*spec.Swagger, error) {
	namer := apiopenapi.NewDefinitionNamer(scheme.Scheme)
	config := &common.Config{
		ProtocolList: []string{"https"}, Info: &spec.Info{InfoProps: spec.InfoProps{Title: title, Version: served}},
		DefaultResponse:       &spec.Response{ResponseProps: spec.ResponseProps{Description: "Default Response."}},
		CommonResponses:       map[int]spec.Response{401: {ResponseProps: spec.ResponseProps{Description: "Unauthorized"}}},
		GetOperationIDAndTags: apiopenapi.GetOperationIDAndTags, GetDefinitionName: namer.GetDefinitionName,
		GetDefinitions:      definitions.GetOpenAPIDefinitions,
		SecurityDefinitions: &spec.SecurityDefinitions{"BearerToken": bearer()}, DefaultSecurity: []map[string][]string{{"BearerToken": {}}},
	}
	swagger, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), config)
	if err != nil {
		return nil, err
	}
	swagger.Definitions = handler.PruneDefaults(swagger.Definitions)
	return swagger, nil
}

func bearer() *spec.SecurityScheme {
	return &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication"}}
}

func buildV3(service *restful.WebService) (*spec3.OpenAPI, error) {
	namer := apiopenapi.NewDefinitionNamer(scheme.Scheme)
	token := spec3.SecurityScheme{SecuritySchemeProps: spec3.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication"}}
	config := &common.OpenAPIV3Config{
		Info:                  &spec.Info{InfoProps: spec.InfoProps{Title: title, Version: served}},
		DefaultResponse:       &spec3.Response{ResponseProps: spec3.ResponseProps{Description: "Default Response."}},
		CommonResponses:       map[int]*spec3.Response{401: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}}},
		GetOperationIDAndTags: apiopenapi.GetOperationIDAndTags, GetDefinitionName: namer.GetDefinitionName,
		GetDefinitions:  definitions.GetOpenAPIDefinitions,
		SecuritySchemes: spec3.SecuritySchemes{"BearerToken": &token}, DefaultSecurity: []map[string][]string{{"BearerToken": {}}},
	}
	config.Definitions = config.GetDefinitions(func(name string) spec.Ref {
		found, _ := namer.GetDefinitionName(name)
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(found))
	})
	document, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), config)
	if err != nil {
		return nil, err
	}
	keepOwnVersion(document, service.RootPath())
	return document, nil
}

// keepOwnVersion shortens what WatchEvent and DeleteOptions say of themselves: they belong to every version there is, but
// a document speaks of one.
func keepOwnVersion(document *spec3.OpenAPI, path string) {
	var group, version string
	switch parts := strings.Split(strings.Trim(path, "/"), "/"); {
	case parts[0] == "api" && len(parts) == 2:
		version = parts[1]
	case parts[0] == "apis" && len(parts) == 3:
		group, version = parts[1], parts[2]
	default:
		return
	}
	const gvk = "x-kubernetes-group-version-kind"
	for _, s := range document.Components.Schemas {
		all, ok := s.Extensions[gvk].([]any)
		if !ok || len(all) < 2 {
			continue
		}
		var kept []any
		shared := false
		for _, one := range all {
			m := one.(map[string]any)
			shared = shared || m["kind"] == "WatchEvent" || m["kind"] == "DeleteOptions"
			if m["group"] == group && m["version"] == version || m["group"] == "" && m["version"] == "v1" {
				kept = append(kept, one)
			}
		}
		if shared {
			s.Extensions[gvk] = kept
		}
	}
}

// save writes a document as JSON and as protobuf and returns the hash by which clients know it.
func save(path string, document json.Marshaler, parse func([]byte) (proto.Message, error)) (string, error) {
	data, err := json.Marshal(document)
	if err != nil {
		return "", err
	}
	message, err := parse(data)
	if err != nil {
		return "", err
	}
	binary, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := compress(path+".json.gz", data); err != nil {
		return "", err
	}
	return fmt.Sprintf("%X", sha512.Sum512(data)), compress(path+".pb.gz", binary)
}

func compress(path string, data []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
