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

	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"
)

// Plugin serves KMS v2 on a socket.
type Plugin struct {
	kmsapi.UnimplementedKeyManagementServiceServer
	socket string

	mu     sync.Mutex
	key    string       // guarded by mu
	server *grpc.Server // nil while it is away; guarded by mu
}

// Start runs a plugin until the test ends.
func Start(t testing.TB, key string) *Plugin {
	t.Helper()
	p := &Plugin{socket: filepath.Join(t.TempDir(), "kms.sock"), key: key}
	if err := p.serve(); err != nil {
		t.Fatal(err)
	}
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

// Leave stops answering, after what is being answered.
func (p *Plugin) Leave() {
	p.mu.Lock()
	server := p.server
	p.server = nil
	p.mu.Unlock() // what is being answered asks for the key
	if server != nil {
		server.GracefulStop()
	}
}

// Return answers again.
func (p *Plugin) Return() {
	if err := p.serve(); err != nil {
		panic(err) // the socket was there before
	}
}

// serve opens the socket before it returns, so that whoever calls then is answered.
func (p *Plugin) serve() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	listener, err := net.Listen("unix", p.socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(server, p)
	p.server = server
	go server.Serve(listener) // it ends, and removes the socket, when it is stopped
	return nil
}

func (p *Plugin) now() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

// Status implements kmsapi.KeyManagementServiceServer.
func (p *Plugin) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	return &kmsapi.StatusResponse{Version: "v2", Healthz: "ok", KeyId: p.now()}, nil
}

// Encrypt implements kmsapi.KeyManagementServiceServer.
func (p *Plugin) Encrypt(_ context.Context, r *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	key := p.now()
	return &kmsapi.EncryptResponse{Ciphertext: append([]byte(key+":"), mirror(r.Plaintext)...), KeyId: key}, nil
}

// Decrypt implements kmsapi.KeyManagementServiceServer.
func (p *Plugin) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	data, ok := bytes.CutPrefix(r.Ciphertext, []byte(r.KeyId+":"))
	if !ok {
		return nil, errors.New("the key is another")
	}
	return &kmsapi.DecryptResponse{Plaintext: mirror(data)}, nil
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
