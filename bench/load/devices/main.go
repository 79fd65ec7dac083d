// Devices, thousands in one process: each logs in with its own key over its own connection and asks for one forward.
// Commands on standard input, one JSON line on standard output for each: `up`, `down`, `count`.
// With -reconnect every device comes back by itself, as the device script does, and `back` is said when all are up again.
package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

var (
	addrs     = flag.String("addr", "", "host:port, or several with commas; the first that answers is used")
	count     = flag.Int("n", 100, "devices")
	atOnce    = flag.Int("c", 32, "logins at once; 0: all")
	cipher    = flag.String("cipher", "aes128-gcm@openssh.com", "")
	user      = flag.String("user", "device", "")
	oneKey    = flag.Bool("one-key", false, "all devices share the first key")
	address   = flag.String("bind", "localhost", "address of the forward; a name where it shall be a named one")
	port      = flag.Uint("port", 0, "port of the forward")
	sources   = flag.Int("sources", 32, "addresses of 127.0.0.0/8 from which they come")
	first     = flag.Int("first", 0, "number of the first device")
	reconnect = flag.Bool("reconnect", false, "come back after a loss")
)

type device struct {
	number int
	config *ssh.ClientConfig
	dialer net.Dialer
	mu     sync.Mutex
	conn   ssh.Conn
}

var (
	up      int64
	retries int64
	closing int32
	lostAt  int64
	onBack  = make(chan struct{}, 1)
)

func signer(number int) ssh.Signer {
	seed := sha256.Sum256([]byte(fmt.Sprintf("sshoal bench device %d", number)))
	made, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return made
}

func newDevice(number int) *device {
	key := number
	if *oneKey {
		key = 0
	}
	source := 2 + number%*sources
	return &device{
		number: number,
		dialer: net.Dialer{Timeout: 60 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(source/250), byte(2+source%250))}},
		config: &ssh.ClientConfig{
			Config:            ssh.Config{Ciphers: []string{*cipher}, KeyExchanges: []string{"curve25519-sha256"}},
			User:              *user,
			Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer(key))},
			HostKeyCallback:   ssh.InsecureIgnoreHostKey(),
			HostKeyAlgorithms: []string{"ssh-ed25519"},
			Timeout:           60 * time.Second,
		},
	}
}

func (d *device) connect(addr string) error {
	raw, err := d.dialer.Dial("tcp", addr)
	if err != nil {
		return err
	}
	// Closed without TIME_WAIT: ports that wait make every search for a free one slower, which peers do for each forward.
	raw.(*net.TCPConn).SetLinger(0)
	raw.SetDeadline(time.Now().Add(60 * time.Second))
	conn, channels, requests, err := ssh.NewClientConn(raw, addr, d.config)
	if err != nil {
		raw.Close()
		return err
	}
	raw.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests)
	go func() {
		for channel := range channels {
			channel.Reject(ssh.Prohibited, "no visits here")
		}
	}()
	forward := struct {
		Address string
		Port    uint32
	}{*address, uint32(*port)}
	granted, _, err := conn.SendRequest("tcpip-forward", true, ssh.Marshal(forward))
	if err == nil && !granted {
		err = fmt.Errorf("the forward was refused")
	}
	if err != nil {
		conn.Close()
		return err
	}
	d.mu.Lock()
	d.conn = conn
	d.mu.Unlock()
	if atomic.AddInt64(&up, 1) == int64(*count) && atomic.LoadInt64(&lostAt) != 0 {
		select {
		case onBack <- struct{}{}:
		default:
		}
	}
	go func() {
		conn.Wait()
		d.mu.Lock()
		d.conn = nil
		d.mu.Unlock()
		atomic.AddInt64(&up, -1)
		if !*reconnect || atomic.LoadInt32(&closing) == 1 {
			return
		}
		atomic.CompareAndSwapInt64(&lostAt, 0, time.Now().UnixNano())
		// The device script waits a random part of a second before it comes back.
		time.Sleep(time.Duration(rand.Int63n(int64(time.Second))))
		d.persist()
	}()
	return nil
}

func (d *device) persist() {
	list := strings.Split(*addrs, ",")
	for try := 0; atomic.LoadInt32(&closing) == 0; try++ {
		if d.connect(list[try%len(list)]) == nil {
			return
		}
		if try%len(list) == len(list)-1 {
			atomic.AddInt64(&retries, 1)
			time.Sleep(500*time.Millisecond + time.Duration(rand.Int63n(int64(time.Second))))
		}
	}
}

func say(fields map[string]interface{}) {
	line, _ := json.Marshal(fields)
	fmt.Println(string(line))
}

func percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(share*float64(len(sorted)-1))]
}

func main() {
	flag.Parse()
	devices := make([]*device, *count)
	for i := range devices {
		devices[i] = newDevice(*first + i)
	}
	say(map[string]interface{}{"event": "ready"})
	go func() {
		for range onBack {
			since := float64(time.Now().UnixNano()-atomic.LoadInt64(&lostAt)) / 1e9
			say(map[string]interface{}{"event": "back", "seconds": since, "retries": atomic.LoadInt64(&retries)})
		}
	}()
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		switch input.Text() {
		case "up":
			startedAt := time.Now()
			limit := *atOnce
			if limit == 0 {
				limit = *count
			}
			slots := make(chan struct{}, limit)
			took := make([]float64, *count)
			var failed int64
			var lastError atomic.Value
			var group sync.WaitGroup
			for i, d := range devices {
				slots <- struct{}{}
				group.Add(1)
				go func(i int, d *device) {
					defer group.Done()
					at := time.Now()
					if err := d.connect(strings.Split(*addrs, ",")[0]); err != nil {
						atomic.AddInt64(&failed, 1)
						lastError.Store(err.Error())
					}
					took[i] = float64(time.Since(at).Microseconds()) / 1000
					<-slots
				}(i, d)
			}
			group.Wait()
			sort.Float64s(took)
			say(map[string]interface{}{"event": "up", "up": atomic.LoadInt64(&up), "failed": failed, "error": lastError.Load(),
				"seconds": time.Since(startedAt).Seconds(), "p50": percentile(took, 0.5), "p99": percentile(took, 0.99)})
		case "down":
			for _, d := range devices {
				d.mu.Lock()
				if d.conn != nil {
					d.conn.Close()
				}
				d.mu.Unlock()
			}
			for atomic.LoadInt64(&up) > 0 {
				time.Sleep(5 * time.Millisecond)
			}
			say(map[string]interface{}{"event": "down"})
		case "count":
			say(map[string]interface{}{"event": "count", "up": atomic.LoadInt64(&up), "retries": atomic.LoadInt64(&retries)})
		}
	}
	atomic.StoreInt32(&closing, 1)
}
