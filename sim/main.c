/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dynamicfs-sim: runs seeds, each in a process of its own, so that a crash has a name and a seed
 * leaves nothing behind. Addresses are not randomised: one seed is one history.
 *
 *   dynamicfs-sim --seed N              replays one (--verbose: with its trace)
 *   dynamicfs-sim --seeds A..B          sweeps; exits 1 and names the first failing seed
 *   dynamicfs-sim --seconds T           sweeps fresh seeds for T seconds (with --seeds: those)
 *   dynamicfs-sim --fixed               sweeps the fixed list
 *
 * --stats: says how often each fault and each state with a probe (base/probe.h) was reached, NAME COUNT a
 * line, over all seeds.
 */
#include <errno.h>
#include <execinfo.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/log.h"
#include "sim/run.h"
#include "sim/sim_env.h"
#include "sim/stats.h"

#define DEFAULT_OPS 200u
#define FIXED_FIRST 1u
#define FIXED_LAST 400u
#define MAX_JOBS 8u
#define SEED_SECONDS 120u
#define LAST_LINES 24u

static struct sim_options opt = {.ops = DEFAULT_OPS};
static struct sim_counts *totals; /* shared by all processes */
static const char *program;
static char last_lines[LAST_LINES][400];
static unsigned line_count;

/* ---- in the seed's process ---- */

static void keep_line(const char *line)
{
	snprintf(last_lines[line_count++ % LAST_LINES], sizeof(last_lines[0]), "%s", line);
}

static void log_line_sink(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	keep_line(line);
	if (opt.verbose)
		fprintf(stderr, "  %s", line);
}

void sim_trace(const char *fmt, ...)
{
	char line[400];
	size_t len;
	va_list args;

	len = (size_t)snprintf(line, sizeof(line), "[%.6f] ", (double)sim_env_now_ns() / 1e9);
	va_start(args, fmt);
	vsnprintf(line + len, sizeof(line) - len - 2, fmt, args);
	va_end(args);
	strcat(line, "\n");
	keep_line(line);
	if (opt.verbose)
		fputs(line, stderr);
}

static void print_how(void)
{
	if (!opt.verbose)
		for (unsigned i = line_count > LAST_LINES ? line_count - LAST_LINES : 0;
		     i < line_count; i++)
			fprintf(stderr, "  %s", last_lines[i % LAST_LINES]);
	fprintf(stderr, "reproduce: %s --seed %llu --ops %u%s --verbose\n", program,
		(unsigned long long)opt.seed, opt.ops,
		opt.meta_only  ? " --meta"
		: opt.no_holes ? " --no-holes"
			       : "");
}

void sim_fail(const char *promise, const char *fmt, ...)
{
	char text[4096];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "seed %llu: FAILED: %s: %s (round %u, %.6f s, in %s)\n",
		(unsigned long long)opt.seed, promise, text, sim_run_now ? sim_run_now->round : 0,
		(double)sim_env_now_ns() / 1e9, sim_env_fiber_name());
	print_how();
	_exit(1);
}

static void on_signal(int sig)
{
	void *frames[40];

	fprintf(stderr, "seed %llu: FAILED: %s (round %u, %.6f s, in %s)\n",
		(unsigned long long)opt.seed, sig == SIGPROF ? "it takes too long" : strsignal(sig),
		sim_run_now ? sim_run_now->round : 0, (double)sim_env_now_ns() / 1e9,
		sim_env_fiber_name());
	backtrace_symbols_fd(frames, backtrace(frames, 40), STDERR_FILENO);
	print_how();
	_exit(1);
}

static void catch_signals(void)
{
	static char stack[65536];
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct itimerval limit = {.it_value = {.tv_sec = SEED_SECONDS}};
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};

	sigaltstack(&alt, NULL);
	sigaction(SIGABRT, &act, NULL);
	sigaction(SIGPROF, &act, NULL);
#ifndef SIM_ASAN /* which says more itself */
	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGFPE, &act, NULL);
#endif
	/* Of its own time: a loaded machine is no failure. */
	setitimer(ITIMER_PROF, &limit, NULL);
}

/* The engine is abandoned at each power cut, memory and all. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0:abort_on_error=0"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "halt_on_error=1:print_stacktrace=1"; }

static void add_counts(void)
{
	const uint64_t *from = (const uint64_t *)opt.counts;
	uint64_t *to = (uint64_t *)totals;

	for (size_t i = 0; i < sizeof(*totals) / sizeof(uint64_t); i++)
		__atomic_fetch_add(&to[i], from[i], __ATOMIC_RELAXED);
}

static pid_t start_seed(uint64_t seed)
{
	static struct sim_counts counts;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "dynamicfs-sim: cannot start a process for seed %llu: %s\n",
			(unsigned long long)seed, strerror(errno));
		exit(1);
	}
	if (pid)
		return pid;
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_IGN); /* a key at the terminal is for the sweep */
	opt.seed = seed;
	/* Many big buffers come and go: their pages stay. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 8 << 20);
	catch_signals();
	log_set_level(opt.verbose ? LOG_DEBUG : LOG_INFO);
	log_set_sink(log_line_sink, NULL);
	opt.counts = &counts;
	sim_run_seed(&opt);
	add_counts();
	sim_stats_add();
	fflush(NULL);
	_exit(0);
}

/* ---- the sweep ---- */

struct sweep {
	uint64_t first, last; /* both included */
	double seconds;	      /* 0: until last */
	unsigned jobs;
	bool keep_going, stats;
};
struct job {
	pid_t pid;
	uint64_t seed;
};

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Returns false when the seed failed. */
static bool reap(struct job *jobs, unsigned count, unsigned *ret_slot)
{
	int status;
	pid_t pid;

	do
		pid = wait(&status);
	while (pid < 0 && errno == EINTR);

	for (unsigned i = 0; i < count; i++) {
		if (jobs[i].pid != pid)
			continue;
		jobs[i].pid = 0;
		*ret_slot = i;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return true;
		opt.seed = jobs[i].seed;
		if (WIFSIGNALED(status)) {
			fprintf(stderr, "seed %llu: FAILED: killed by %s\n",
				(unsigned long long)opt.seed, strsignal(WTERMSIG(status)));
			print_how();
		}
		return false;
	}
	abort(); /* no other children exist */
}

static volatile sig_atomic_t stopped;
static void on_stop(int sig) { stopped = sig; }

/* Returns how many failed. Told to stop, it lets what runs end, and says what was done. */
static unsigned sweep(const struct sweep *s)
{
	struct job jobs[MAX_JOBS] = {0};
	unsigned running = 0, failed = 0, slot;
	uint64_t next = s->first;
	double start = seconds_now();

	signal(SIGTERM, on_stop);
	signal(SIGINT, on_stop);
	for (;;) {
		bool more = !stopped && next <= s->last && (!failed || s->keep_going) &&
			    (s->seconds == 0 || seconds_now() - start < s->seconds);

		if (!more && !running)
			return failed;
		if (more && running < s->jobs) {
			for (slot = 0; jobs[slot].pid; slot++)
				;
			jobs[slot] = (struct job){start_seed(next), next};
			next++;
			running++;
			continue;
		}
		failed += !reap(jobs, s->jobs, &slot);
		running--;
	}
}

static void print_counts(unsigned failed, double seconds)
{
	const struct sim_counts *c = totals;

	printf("%s sim_sweep: %llu seeds, %llu operations, %llu device operations, %llu rounds, %llu power "
	       "cuts, %llu checks of %llu files (%llu MB); %.1f s, %.0f seeds/s\n",
	       failed ? "not ok" : "ok", (unsigned long long)c->seeds, (unsigned long long)c->ops,
	       (unsigned long long)c->device_ops, (unsigned long long)c->rounds,
	       (unsigned long long)c->cuts, (unsigned long long)c->checks,
	       (unsigned long long)c->files_checked, (unsigned long long)(c->bytes_checked >> 20),
	       seconds, (double)c->seeds / MAX(seconds, 0.001));
}

/* ---- command line ---- */

static void usage(int code)
{
	fprintf(code ? stderr : stdout,
		"usage: dynamicfs-sim (--seed N | --seeds A..B | --seconds T | --fixed) [--ops M] [--jobs J]\n"
		"       [--meta] [--no-holes] [--keep-going] [--stats] [--verbose]\n");
	exit(code);
}

static void parse_seeds(const char *text, struct sweep *s)
{
	char *end;

	s->first = strtoull(text, &end, 10);
	if (strncmp(end, "..", 2))
		usage(2);
	s->last = strtoull(end + 2, &end, 10);
	if (*end || s->last < s->first)
		usage(2);
}

static void parse_option(int c, struct sweep *s)
{
	switch (c) {
	case 's':
		s->first = s->last = strtoull(optarg, NULL, 10);
		break;
	case 'S':
		parse_seeds(optarg, s);
		break;
	case 't':
		s->seconds = strtod(optarg, NULL);
		break;
	case 'f':
		s->first = FIXED_FIRST;
		s->last = FIXED_LAST;
		break;
	case 'o':
		opt.ops = (unsigned)strtoul(optarg, NULL, 10);
		break;
	case 'j':
		s->jobs = (unsigned)strtoul(optarg, NULL, 10);
		break;
	case 'k':
		s->keep_going = true;
		break;
	case 'i':
		s->stats = true;
		break;
	case 'v':
		opt.verbose = true;
		break;
	case 'm':
		opt.meta_only = true;
		break;
	case 'n':
		opt.no_holes = true;
		break;
	default:
		usage(c == 'h' ? 0 : 2);
	}
}

static void parse(int argc, char **argv, struct sweep *s)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
						{"seeds", required_argument, NULL, 'S'},
						{"seconds", required_argument, NULL, 't'},
						{"fixed", no_argument, NULL, 'f'},
						{"ops", required_argument, NULL, 'o'},
						{"jobs", required_argument, NULL, 'j'},
						{"keep-going", no_argument, NULL, 'k'},
						{"verbose", no_argument, NULL, 'v'},
						{"no-holes", no_argument, NULL, 'n'},
						{"meta", no_argument, NULL, 'm'},
						{"stats", no_argument, NULL, 'i'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		parse_option(c, s);
	if (s->first == UINT64_MAX && s->seconds > 0) { /* fresh ones */
		s->first = (uint64_t)time(NULL) * 1000;
		s->last = UINT64_MAX - 1;
	}
	if (optind != argc || s->first == UINT64_MAX || !opt.ops || !s->jobs || s->jobs > MAX_JOBS)
		usage(2);
}

/* ASan warns once of what sim_env.c tells it about: once here, so that not each seed does. */
static void warn_once(void)
{
#ifdef SIM_ASAN
	static ucontext_t here, there;
	static volatile bool back;

	getcontext(&here);
	if (!back) {
		back = true;
		swapcontext(&there, &here);
	}
#endif
}

/* The same addresses in each run, since some orders may depend on them. */
static void fix_addresses(char **argv)
{
	int old = personality(0xffffffff);

	if (old < 0 || (old & ADDR_NO_RANDOMIZE))
		return;
	setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0); /* a third less time in the kernel */
	if (personality((unsigned long)old | ADDR_NO_RANDOMIZE) >= 0)
		execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
	struct sweep s = {.first = UINT64_MAX, .jobs = 1};
	double start = seconds_now();
	unsigned failed;

	program = argv[0];
	parse(argc, argv, &s);
	fix_addresses(argv);
	warn_once();
	setvbuf(stderr, NULL, _IOLBF, 0);
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (totals == MAP_FAILED)
		abort();
	sim_stats_share();
	failed = sweep(&s);
	if (s.stats)
		sim_stats_print();
	print_counts(failed, seconds_now() - start);
	return failed ? 1 : 0;
}
