//! Programs made by chance against a ledger that is simple enough to be right: it burns lots at each charge, keeps no
//! journal, knows no concurrency, and counts in plain numbers. After every step both say the same, to the micro-cbT.

mod simple;

use camarad::domain::ledger::{self, Adjust, Grant, Operation, Period, Progress, Refund, Reserve, Usage};
use camarad::domain::workspaces::Workspace;
use camarad::error::Error;
use camarad::ids::{CallId, OperationId, UserId};
use camarad::money::Cbt;
use camarad_tests::bank::{Bank, amount, grant, micro};
use camarad_tests::dice::{Dice, each, share};
use jiff::{SignedDuration, Timestamp};

use simple::{Limit, Model, Open};

struct Program {
    bank: Bank,
    account: UserId,
    homes: Vec<Workspace>,
    model: Model,
    dice: Dice,
    steps: i64,
}

impl Program {
    async fn begin(seed: u64) -> Self {
        let bank = Bank::seeded(seed).await;
        let account = bank.account(0).await;
        let homes = vec![bank.workspace(account).await, bank.workspace(account).await];
        Self {
            bank,
            account,
            homes,
            model: Model::default(),
            dice: Dice::new(seed),
            steps: 0,
        }
    }

    fn up_to(&mut self, n: u64) -> i64 {
        1 + i64::try_from(self.dice.below(n)).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.bank.app.clock().now()
    }

    async fn step(&mut self) {
        self.steps += 1;
        match self.dice.below(100) {
            0..15 => self.grant().await,
            15..40 => self.reserve().await,
            40..58 => self.end().await,
            58..64 => self.checkpoint().await,
            64..74 => self.pass().await,
            74..80 => self.refund().await,
            80..85 => self.adjust().await,
            85..92 => self.allocate().await,
            _ => drop(ledger::flush(&self.bank.app, self.account).await.unwrap()),
        }
        self.compare().await;
    }

    async fn grant(&mut self) {
        let n = self.up_to(80);
        let now = self.now();
        // At five-minute marks, so that lots join only where they expire together.
        let mark = (now.as_second() / 300 + self.up_to(5)) * 300;
        let expires = self
            .dice
            .chance(60)
            .then(|| Timestamp::from_second(mark).unwrap());
        let period = self.dice.chance(15).then(|| Period {
            start: now + SignedDuration::from_millis(self.steps),
            end: now + SignedDuration::from_hours(700),
        });
        let operation = Operation::granted(OperationId::new(self.bank.app.clock()));
        let order = Grant {
            expires,
            period,
            ..grant(operation, n)
        };
        ledger::grant(&self.bank.app, self.account, &order).await.unwrap();
        match expires {
            Some(_) => *self.model.lots.entry(mark).or_default() += n,
            None => self.model.free += n,
        }
        if period.is_some() {
            (self.model.used, self.model.quota) = (0, n);
            self.model.limits.values_mut().for_each(|l| l.used = 0);
        }
    }

    async fn reserve(&mut self) {
        let (n, place) = (self.up_to(60), usize::from(self.dice.chance(50)));
        let mut request = self.bank.request_in(&self.homes[place], n);
        // Each a moment of its own, so that holds expire one after the other.
        request.expires_at = self.now() + SignedDuration::from_millis(60_000 + self.steps);
        request.capped = self.dice.chance(50);
        let free = self.model.balance() - self.model.held();
        let left = self.model.left(place);
        match ledger::reserve(&self.bank.app, &request).await.unwrap() {
            Reserve::Held(reservation) => {
                assert!(
                    free >= n && left.is_none_or(|left| left >= n),
                    "held what there is not"
                );
                let open = Open {
                    held: n,
                    place,
                    counted: self.model.limits.contains_key(&place),
                    billable: 0,
                    expires: request.expires_at,
                    reservation,
                };
                self.model.calls.insert(request.call, open);
            }
            Reserve::Refused(refused) => {
                assert!(free < n || left.is_some_and(|left| left < n), "{refused:?}");
                let limit = self.model.limits.get(&place);
                let unspent = limit.and_then(|l| l.limit.map(|limit| limit - l.used));
                let why = refused.error();
                let right = if self.model.balance() < n {
                    matches!(why, Error::InsufficientCbt)
                } else if unspent.is_some_and(|unspent| unspent < n) {
                    matches!(why, Error::AllocationExhausted)
                } else {
                    matches!(why, Error::CbtHeld { .. })
                };
                assert!(right, "{why:?} of {refused:?}");
            }
        }
    }

    fn some_call(&mut self) -> Option<CallId> {
        let calls: Vec<_> = self.model.calls.keys().copied().collect();
        (!calls.is_empty()).then(|| *self.dice.pick(&calls))
    }

    async fn end(&mut self) {
        let Some(call) = self.some_call() else { return };
        let open = self.model.calls[&call].clone();
        let most = u64::try_from(open.held).unwrap() + 1;
        let charge = i64::try_from(self.dice.below(most)).unwrap();
        let bill = self.bank.bill(&open.reservation, charge);
        self.bank.write_bill(&bill).await.unwrap();
        for _ in 0..=self.dice.below(2) {
            let ended = ledger::end(&self.bank.app, &open.reservation, bill.charge)
                .await
                .unwrap();
            assert_eq!(ended.end.charge, amount(charge));
        }
        self.model.end(call, charge);
    }

    async fn checkpoint(&mut self) {
        let Some(call) = self.some_call() else { return };
        let open = self.model.calls[&call].clone();
        let billable = open.billable.max(self.up_to(60)).min(open.held);
        let expires_at = self.now() + SignedDuration::from_millis(60_000 + self.steps);
        let progress = Progress {
            billable: amount(billable),
            usage: Some(Usage::default()),
            expires_at,
        };
        ledger::checkpoint(&self.bank.app, &open.reservation, &progress)
            .await
            .unwrap();
        let open = self.model.calls.get_mut(&call).unwrap();
        (open.billable, open.expires) = (billable, expires_at);
    }

    /// Time passes; holds and lots expire in their order.
    async fn pass(&mut self) {
        let until = self.now() + SignedDuration::from_secs(self.up_to(120));
        loop {
            let calls = self.model.calls.iter();
            let hold = calls.map(|(call, open)| (open.expires, *call)).min();
            let lot = self.model.lots.keys().next();
            let lot = lot.map(|at| Timestamp::from_second(*at).unwrap());
            // The sweeper's index knows what expired before this moment.
            let hold = hold.map(|(at, call)| (at + SignedDuration::from_millis(1), call));
            let next = hold.map(|(at, _)| at).into_iter().chain(lot).min();
            let Some(next) = next.filter(|at| *at <= until) else {
                break;
            };
            self.reach(next);
            if lot.is_some_and(|at| at <= next) {
                ledger::expire(&self.bank.app, self.account).await.unwrap();
                self.model.expire(next.as_second());
            } else if let Some((_, call)) = hold {
                // As the table's stream does within a second: the sweeper finds holds by their rows.
                ledger::flush(&self.bank.app, self.account).await.unwrap();
                let swept = ledger::sweep(&self.bank.app).await.unwrap();
                assert_eq!((swept.ended, swept.failed), (1, 0));
                self.model.end(call, self.model.calls[&call].billable);
            }
            self.compare().await;
        }
        self.reach(until);
    }

    fn reach(&self, moment: Timestamp) {
        let left = moment.duration_since(self.now());
        self.bank.clock.advance(left.max(SignedDuration::ZERO));
    }

    async fn refund(&mut self) {
        let calls: Vec<_> = self.model.charged.iter().map(|(c, n)| (*c, *n)).collect();
        if calls.is_empty() {
            return;
        }
        let (call, charged) = *self.dice.pick(&calls);
        let n = self.up_to(40);
        let refund = Refund {
            account: self.account,
            call,
            name: self.steps.to_string(),
            amount: micro(n),
            reason: "goodwill".into(),
        };
        match ledger::refund(&self.bank.app, &refund).await {
            Ok(_) => {
                assert!(n <= charged, "more than was charged");
                self.model.charged.insert(call, charged - n);
                self.model.free += n;
            }
            Err(Error::Conflict { code, .. }) => {
                assert!(n > charged && code == "refund_exceeds_charge", "{code}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn adjust(&mut self) {
        let n = self.up_to(50);
        let adjust = Adjust {
            operation: Operation::adjusted(&self.steps.to_string()),
            amount: micro(n),
            reason: "given back".into(),
        };
        let done = ledger::adjust(&self.bank.app, self.account, &adjust)
            .await
            .unwrap();
        let taken = n.min(self.model.balance() - self.model.held());
        assert_eq!(done.shortfall, amount(n - taken));
        let of_free = taken.min(self.model.free);
        self.model.free -= of_free;
        self.model.burn(taken - of_free);
    }

    async fn allocate(&mut self) {
        let place = usize::from(self.dice.chance(50));
        let limit = self.dice.chance(70).then(|| self.up_to(150));
        self.bank.allocate(&self.homes[place], limit).await;
        let running = self.model.calls.values().any(|c| c.place == place && c.counted);
        match (self.model.limits.get_mut(&place), limit) {
            (Some(_), None) if !running => drop(self.model.limits.remove(&place)),
            (Some(known), limit) => known.limit = limit,
            (None, Some(_)) => drop(self.model.limits.insert(place, Limit { limit, used: 0 })),
            (None, None) => {}
        }
    }

    async fn compare(&self) {
        let seen = ledger::balance(&self.bank.app, self.account).await.unwrap();
        let model = &self.model;
        let figures = [seen.balance, seen.available, seen.held, seen.used, seen.quota];
        let right = [
            model.balance(),
            model.balance() - model.held(),
            model.held(),
            model.used,
            model.quota,
        ];
        assert_eq!(figures.map(Cbt::as_micro), right, "{model:?}");
        let lots: Vec<_> = seen
            .lots
            .iter()
            .map(|l| (l.expires_at.as_second(), l.amount.as_micro()))
            .collect();
        let right: Vec<_> = model.lots.iter().map(|(at, n)| (*at, *n)).collect();
        assert_eq!(lots, right, "{model:?}");
        for (place, home) in self.homes.iter().enumerate() {
            let key = camarad::store::keys::workspace(home.id);
            let home = self.bank.app.db().get(&key).await.unwrap().unwrap();
            let view = ledger::allocation(&self.bank.app, &home).await.unwrap();
            assert_eq!(view.left.map(Cbt::as_micro), model.left(place), "{model:?}");
        }
    }
}

async fn prove(seed: u64) {
    let mut program = Program::begin(seed).await;
    for _ in 0..70 {
        program.step().await;
    }
    program.bank.come_to_rest(&[program.account]).await;
    program.bank.audit(program.account).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_the_sums_are_those_of_a_simple_ledger() {
    each(40_000..40_000 + 4 * share(), prove).await;
}
