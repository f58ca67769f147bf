-- The server takes only small transactions while the run lasts: ten rows are too many.
create table gh_ost_test (id int not null auto_increment primary key, word mediumtext not null);
insert into gh_ost_test (word) select repeat('x', 40000) from seq_1_to_30;
