package master

import (
	"fmt"
	"net"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// advertised is the address at which the cluster reaches this master.
func advertised(c *Config) (net.IP, error) {
	if c.AdvertiseAddress != "" {
		return net.ParseIP(c.AdvertiseAddress), nil
	}
	bind := net.ParseIP(c.BindAddress)
	if !bind.IsUnspecified() {
		return bind, nil
	}
	ip, err := utilnet.ResolveBindAddress(bind)
	if err != nil { // a machine without a network still serves itself
		return net.IPv4(127, 0, 0, 1), nil
	}
	if ip == nil {
		return nil, fmt.Errorf("this machine has no address to advertise: give one with --advertise-address")
	}
	return ip, nil
}

// etcdLog passes on what an operator must know of etcd.
func etcdLog() *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), zapcore.Lock(os.Stderr), zap.ErrorLevel))
}
