-- The rows would be told apart by something else.
create table gh_ost_test (id int not null primary key, n int not null);
insert into gh_ost_test values (1, 1), (2, 2);
