package roster

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Annotations of a master's record. Upstream's API servers keep records without them, and leave them alone.
const (
	annotationName    = "wheelhouse.dev/name"
	annotationURL     = "wheelhouse.dev/url"
	annotationVersion = "wheelhouse.dev/version"
	annotationLeases  = "wheelhouse.dev/leases"
	annotationStore   = "wheelhouse.dev/store"
)

// Listing is what the roster says of a live master.
type Listing struct {
	// Name is the master's identity: the holder that its Leases name, and the name of its member of the store.
	Name string
	// URL of its API, for other masters.
	URL     string
	Version string
	// Address at which the cluster reaches it; nil if that is only loopback.
	Address net.IP
	// Leases that it stands for.
	Leases []string
	// Store is the identity of the store that it belongs to; empty with a version that tells none.
	Store string
}

// port of the URL; 0 if it has none.
func (l *Listing) port() int {
	u, err := url.Parse(l.URL)
	if err != nil {
		return 0
	}
	port, _ := strconv.Atoi(u.Port()) // 0 without one
	return port
}

// record is what a live master keeps in the store: an Endpoints object as upstream's API servers write it, whose first
// address is the master's, with what other masters want to know in annotations.
type record struct {
	// Listing has no Name if an upstream API server wrote the record.
	Listing
	generation int64
	// annotations of the stored object, those of others included.
	annotations map[string]string
}

// storedPrefix begins every value that is stored in protobuf.
const storedPrefix = "k8s\x00"

func (r *record) encode() ([]byte, error) {
	o := &corev1.Endpoints{} //nolint:staticcheck // the stored form is upstream's
	o.Generation = r.generation
	o.Annotations = maps.Clone(r.annotations)
	if o.Annotations == nil {
		o.Annotations = map[string]string{}
	}
	o.Annotations[annotationName], o.Annotations[annotationURL] = r.Name, r.URL
	o.Annotations[annotationVersion], o.Annotations[annotationLeases] = r.Version, strings.Join(r.Leases, ",")
	if r.Store != "" {
		o.Annotations[annotationStore] = r.Store
	}
	if r.Address != nil {
		o.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: r.Address.String()}}}}
	}
	raw, err := o.Marshal()
	if err != nil {
		return nil, err
	}
	value, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Endpoints"}, Raw: raw}).Marshal()
	return append([]byte(storedPrefix), value...), err
}

// decodeRecord reads a record that a master of any make has stored.
func decodeRecord(value []byte) (record, error) {
	o := &corev1.Endpoints{} //nolint:staticcheck // the stored form is upstream's
	rest, isProtobuf := strings.CutPrefix(string(value), storedPrefix)
	switch {
	case isProtobuf:
		var envelope runtime.Unknown
		if err := envelope.Unmarshal([]byte(rest)); err != nil {
			return record{}, err
		}
		if envelope.APIVersion != "v1" || envelope.Kind != "Endpoints" {
			return record{}, fmt.Errorf("it is a %s of %s, not an Endpoints of v1", envelope.Kind, envelope.APIVersion)
		}
		if err := o.Unmarshal(envelope.Raw); err != nil {
			return record{}, err
		}
	default: // --storage-media-type=application/json
		if err := json.Unmarshal(value, o); err != nil {
			return record{}, fmt.Errorf("it is neither protobuf nor JSON: %w", err)
		}
	}
	a := o.Annotations
	r := record{
		Listing:    Listing{Name: a[annotationName], URL: a[annotationURL], Version: a[annotationVersion], Store: a[annotationStore]},
		generation: o.Generation, annotations: a,
	}
	if leases := a[annotationLeases]; leases != "" {
		r.Leases = strings.Split(leases, ",")
	}
	if len(o.Subsets) > 0 && len(o.Subsets[0].Addresses) > 0 {
		r.Address = net.ParseIP(o.Subsets[0].Addresses[0].IP)
	}
	return r, nil
}

// standsFor tells whether the master stands for a Lease.
func (l *Listing) standsFor(lease string) bool { return slices.Contains(l.Leases, lease) }
