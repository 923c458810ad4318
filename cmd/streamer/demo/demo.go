package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"streamer/sink/sinktest"
)

// defaultRate is rows per second, in all topics.
const defaultRate = 400

// Options say how the demo runs.
type Options struct {
	// For is how long it takes, about; 0: until soft ends or the check could not keep more in memory.
	For time.Duration
	// Rate is rows per second; 0 means 400.
	Rate float64
	// Settle bounds the wait until all that was produced is final and committed; 0 means a minute, 5s after an interruption.
	Settle time.Duration
	// Out gets the story, nil: nobody. Terminal, if Out is one, allows lines that are redrawn.
	Out      io.Writer
	Terminal *Terminal

	cycle time.Duration // from one outage to the next, at most
	jobs  fs.FS         // job files in the place of the demo's own
}

// tail is how long before the end the producer stops, so that what is under way can end.
func (o Options) tail() time.Duration { return min(max(o.For/8, 300*time.Millisecond), 2*time.Second) }

func (o Options) progressEvery() time.Duration {
	if o.For == 0 {
		return 5 * time.Second
	}
	return max(o.For/5, time.Second)
}

// demo is the parts of one run.
type demo struct {
	options  Options
	screen   *screen
	story    *story
	weather  *weather
	broker   *broker
	apis     map[string]*api
	producer *producer
	letters  *letters
	service  *service
	watcher  *watcher
	console  string
}

// Run runs the demo until o.For is over or soft ends, and gives the verdict, which is also told. The error says why there is none.
// It may block for Settle and some seconds more.
func Run(soft context.Context, o Options) (Report, error) {
	o.Rate = cmp.Or(o.Rate, defaultRate)
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.jobs == nil {
		o.jobs = jobFiles
	}
	d := &demo{options: o, screen: newScreen(o.Out, o.Terminal), weather: newWeather(o), apis: map[string]*api{}}
	d.story = newStory(d.screen)
	defer d.close()
	if err := d.open(); err != nil {
		return Report{}, err
	}
	interrupted, settled, err := d.play(soft)
	if err != nil {
		return Report{}, err
	}
	return d.judge(interrupted, settled)
}

// open starts the parts from sink to source, and tells of each.
func (d *demo) open() error {
	d.screen.text(d.screen.paint(bold, "Kafka records become HTTP requests: in order, none lost, also while APIs fail.") + "\n" +
		"All of this runs in one process on this machine. What is told below was observed;\n" +
		"nothing is scripted but the troubles of the APIs.\n\n")
	addresses := map[string]string{}
	for _, name := range []string{registryName, dashboardName} {
		a, err := startAPI(name, d.weather, d.story)
		if err != nil {
			return err
		}
		d.apis[name], addresses[name] = a, a.receiver.URL()
	}
	d.screen.tell("apis", "The %s at %s will go down, be busy, lose connections, and refuse households with a negative number of people. The %s at %s is quick.", registryName, addresses[registryName],
		dashboardName, addresses[dashboardName])
	var err error
	if d.broker, err = startBroker(); err != nil {
		return err
	}
	d.screen.tell("kafka", "An embedded stand-in for Kafka, with its data in memory, at %s.", d.broker.cluster.ListenAddrs()[0])
	texts, err := readJobs(d.options.jobs, addresses)
	if err != nil {
		return err
	}
	jobs, err := compile(texts)
	if err != nil {
		return err
	}
	for _, t := range texts {
		d.screen.tell("job", "This is a job, %s:", t.name)
		d.screen.detail(strings.Split(strings.TrimSpace(t.text), "\n")...)
	}
	d.producer = newProducer(d.broker, d.options.Rate, d.story)
	if d.letters, err = openLetters(d.broker, d.story); err != nil {
		return err
	}
	if d.service, err = newService(jobs, d.broker.cluster.ListenAddrs(), slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	d.console = "http://" + d.service.server.Addr()
	d.watcher = newWatcher(d)
	return nil
}

// close frees what open has opened, from source to sink; parts that were not opened are left out.
func (d *demo) close() {
	if d.service != nil {
		d.service.close()
	}
	if d.letters != nil {
		d.letters.client.Close()
	}
	if d.broker != nil {
		d.broker.close()
	}
	for _, a := range d.apis {
		a.receiver.Close()
	}
}

// play lets everything run: produce until it is time, settle, stop. interrupted says that soft ended first; settled, that every
// job's lag reached 0.
func (d *demo) play(soft context.Context) (interrupted, settled bool, err error) {
	end := "with Ctrl-C"
	produce, stopProducing := context.WithCancel(soft)
	defer stopProducing()
	if d.options.For > 0 {
		produce, stopProducing = context.WithTimeout(soft, d.options.For-d.options.tail())
		defer stopProducing()
		end = fmt.Sprintf("after about %v, or with Ctrl-C", d.options.For)
	}
	d.screen.tell("producer", "Puts about %s rows a second into %d topics, in records of 1 to 250 rows. The demo ends %s.", thousands(int(d.options.Rate)), len(partitions), end)
	d.weather.begin()

	var full bool
	var produceErr error
	var producing, watching sync.WaitGroup
	producing.Go(func() { full, produceErr = d.producer.run(produce, d.weather.length/2) }) // ends with produce
	// Streamer comes when there is something to read, so that the story has the record before its requests.
	waitFor(produce, time.Second, func() bool { return d.story.was("record " + householdTopic) })
	d.screen.tell("streamer", "Runs the %d jobs as `streamer run` would. Look while it lasts: curl %s/readyz, curl %s/metrics, and STREAMER_URL=%s streamer jobs list",
		len(roles), d.console, d.console, d.console)
	run, stop := context.WithCancel(context.Background())
	defer stop()
	hard, kill := context.WithCancel(context.Background())
	defer kill()
	stopped := make(chan error, 1)
	go func() { stopped <- d.service.run(run, hard) }() // ends with run, or some seconds after hard
	watch, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	watching.Go(func() { d.letters.run(watch) })
	watching.Go(func() { d.watcher.run(watch) })

	producing.Wait()
	interrupted = soft.Err() != nil
	d.weather.end()
	if produceErr == nil {
		settled = d.settle(soft, interrupted, full)
	}

	stop()
	deadline := time.AfterFunc(stopWithin, kill)
	err = errors.Join(produceErr, <-stopped)
	deadline.Stop()
	if err == nil {
		err = d.letters.complete(context.Background(), d.broker)
	}
	unwatch()
	watching.Wait()
	return interrupted, settled, err
}

// stopWithin is what streamer gets to stop in good order before it is cut off.
const stopWithin = 10 * time.Second

// settle waits until every job's lag is 0, as Kafka says it, and tells.
func (d *demo) settle(soft context.Context, interrupted, full bool) bool {
	why := "The time is nearly over"
	switch {
	case interrupted:
		why = "Interrupted"
	case full:
		why = fmt.Sprintf("%s rows are as many as the check can keep in memory", thousands(maxRows))
	}
	d.screen.tell("producer", "%s: nothing more is produced. Now all that is left has to be delivered.", why)
	most := d.options.Settle
	if most == 0 {
		most = time.Minute
		if interrupted {
			most = 5 * time.Second
		}
	}
	wait := context.WithoutCancel(soft)
	lag := map[string]int64{}
	settled := waitFor(wait, most, func() bool {
		zero := true
		for _, r := range roles {
			n, err := d.broker.lag(wait, r)
			lag[r.job] = n
			zero = zero && err == nil && n == 0
		}
		return zero
	})
	if settled {
		d.screen.tell("lag", "0 in all groups: for every partition the committed offset is the end of the log, so every row is final.")
		return true
	}
	parts := make([]string, 0, len(lag))
	for _, job := range slices.Sorted(maps.Keys(lag)) {
		parts = append(parts, fmt.Sprintf("%s %s", job, count(int(lag[job]), "record")))
	}
	d.screen.tell("lag", "Not 0 after %v: %s.", most, strings.Join(parts, ", "))
	return false
}

// attempts gives what the APIs saw of each job.
func (d *demo) attempts() map[string][]sinktest.Attempt {
	out := map[string][]sinktest.Attempt{}
	for _, a := range d.apis {
		for _, at := range a.receiver.Attempts() {
			if r, ok := roleOf(at.Path); ok {
				out[r.job] = append(out[r.job], at)
			}
		}
	}
	return out
}
