// Package plugintest is a KMS v2 plugin for tests: it "encrypts" with a key that it names, and can go away and come back.
package plugintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/kms/pkg/service"
)

// timeout of the plugin's connections.
const timeout = 5 * time.Second

// Plugin serves KMS v2 on a socket.
type Plugin struct {
	socket string

	mu     sync.Mutex
	key    string               // guarded by mu
	server *service.GRPCService // nil while it is away; guarded by mu
}

// Start runs a plugin until the test ends.
func Start(t testing.TB, key string) *Plugin {
	p := &Plugin{socket: filepath.Join(t.TempDir(), "kms.sock"), key: key}
	p.Return()
	t.Cleanup(p.Leave)
	return p
}

// Endpoint for the configuration.
func (p *Plugin) Endpoint() string { return "unix://" + p.socket }

// UseKey makes another key the one that encrypts.
func (p *Plugin) UseKey(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = key
}

// Leave stops answering.
func (p *Plugin) Leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		p.server.Shutdown()
		p.server.Close()
		p.server = nil
	}
}

// Return answers again.
func (p *Plugin) Return() {
	p.mu.Lock()
	defer p.mu.Unlock()
	server := service.NewGRPCService(p.socket, timeout, p)
	p.server = server
	go server.ListenAndServe() // it ends with an error when it is shut down
	for {
		if c, err := net.Dial("unix", p.socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *Plugin) now() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

// Status implements service.Service.
func (p *Plugin) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: p.now()}, nil
}

// Encrypt implements service.Service.
func (p *Plugin) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	key := p.now()
	return &service.EncryptResponse{Ciphertext: append([]byte(key+":"), mirror(data)...), KeyID: key}, nil
}

// Decrypt implements service.Service.
func (p *Plugin) Decrypt(_ context.Context, _ string, r *service.DecryptRequest) ([]byte, error) {
	data, ok := bytes.CutPrefix(r.Ciphertext, []byte(r.KeyID+":"))
	if !ok {
		return nil, errors.New("the key is another")
	}
	return mirror(data), nil
}

// mirror is its own inverse.
func mirror(data []byte) []byte {
	out := make([]byte, len(data))
	for i, b := range data {
		out[i] = b ^ 0x5a
	}
	return out
}

// Provider is the plugin as an entry of providers in an EncryptionConfiguration, indented by so many spaces.
func (p *Plugin) Provider(name string, indent int, timeout time.Duration) string {
	pad := fmt.Sprintf("%*s", indent, "")
	return pad + "- kms:\n" + pad + "    apiVersion: v2\n" + pad + "    name: " + name + "\n" +
		pad + "    endpoint: " + p.Endpoint() + "\n" + pad + "    timeout: " + timeout.String() + "\n"
}
