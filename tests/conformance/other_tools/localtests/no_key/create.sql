-- Nothing tells the rows apart.
create table gh_ost_test (n int not null, word varchar(9) null, key (n));
insert into gh_ost_test values (1, 'a'), (1, 'a');
